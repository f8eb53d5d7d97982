//! Programs for which the system has no IPv6, as where its kernel was started with `ipv6.disable=1`.

use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Runs `body` on a thread of its own. Neither it nor the threads that it starts can open sockets of IPv6.
///
/// # Panics
/// When `body` does, or the system refuses the filter.
pub fn run<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let filter = filter().unwrap_or_else(|error| panic!("no filter of system calls can be made: {error}"));
    let filtered = || {
        apply_filter(&filter).expect("a thread can be filtered");
        body()
    };
    thread::scope(|scope| scope.spawn(filtered).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let is_ipv6 = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        libc::AF_INET6.unsigned_abs().into(),
    )?;
    let rules = [(libc::SYS_socket, vec![SeccompRule::new(vec![is_ipv6])?])];
    let refuse = SeccompAction::Errno(libc::EAFNOSUPPORT.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules.into(), SeccompAction::Allow, refuse, arch)?.try_into()
}
