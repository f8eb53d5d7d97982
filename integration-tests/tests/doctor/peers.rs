//! Situations of programs rather than of the network.

use ferrocal_integration_tests::suite::Test;

pub(crate) fn tests() -> Vec<Test> {
    Vec::new()
}
