//! Checks that settings make sense together.

use ferrocal_proto::{HashVersion, Limits};

use super::{Config, ConfigError, LogConfig};

pub(super) const PORT: &str = "a port from 1 to 65535";
pub(super) const BUFFER: &str = "a size in bytes from 1 to 2147483647";
pub(super) const AT_LEAST_1: &str = "1 or more";
pub(super) const PRIORITY: &str = "a priority from 0 to 99";
/// The header of a message has 32 bits for its length (wire-format.md, section 2).
const MESSAGE: &str = "a length in bytes from 1 to 4294967295";
const MAX_MESSAGE_LEN: u64 = u32::MAX as u64;
const MAX_BUFFER_LEN: usize = i32::MAX as usize;

impl Config {
    /// Checks that the settings make sense together.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_udp()?;
        self.check_registration()?;
        let priority = self.receive_thread.priority.unwrap_or(0);
        is(priority <= 99, "ferrocal.receive_thread.priority", &priority, PRIORITY)?;
        let queue_len = self.subscriber.queue_len;
        is(queue_len > 0, "ferrocal.subscriber.queue_len", &queue_len, AT_LEAST_1)?;
        self.check_logging()?;
        self.check_limits()
    }

    fn check_udp(&self) -> Result<(), ConfigError> {
        let udp = &self.udp;
        is(udp.port != 0, "transport_layer.udp.port", &udp.port, PORT)?;
        is(
            udp.network.group.is_multicast(),
            "transport_layer.udp.network.group",
            &udp.network.group,
            "a multicast address (224.0.0.0 to 239.255.255.255)",
        )?;
        is(
            udp.local.group.is_loopback(),
            "transport_layer.udp.local.group",
            &udp.local.group,
            "a loopback address (127.255.255.255 reaches all programs of this host)",
        )?;
        // With fewer bits kept, the hash of a name could make an address that is not multicast.
        is(
            udp.hash_version == HashVersion::V1 || udp.effective_mask().octets()[0] & 0xf0 == 0xf0,
            "transport_layer.udp.mask",
            &udp.effective_mask(),
            "a mask for config_version v2, which keeps at least the first four bits of the group (such as 255.255.255.240)",
        )?;
        for (key, len) in [
            ("transport_layer.udp.send_buffer", udp.send_buffer_len),
            ("transport_layer.udp.receive_buffer", udp.receive_buffer_len),
        ] {
            is((1..=MAX_BUFFER_LEN).contains(&len), key, &len, BUFFER)?;
        }
        Ok(())
    }

    fn check_registration(&self) -> Result<(), ConfigError> {
        let registration = &self.registration;
        let refresh_ms = registration.refresh.as_millis();
        is(registration.local_port != 0, "registration.local.udp.port", &registration.local_port, PORT)?;
        is(
            registration.network_port != 0,
            "registration.network.udp.port",
            &registration.network_port,
            PORT,
        )?;
        is(refresh_ms > 0, "registration.registration_refresh", &refresh_ms, "a time of 1 ms or more")?;
        is(
            registration.timeout >= registration.refresh,
            "registration.registration_timeout",
            &registration.timeout.as_millis(),
            "at least the registration_refresh",
        )
    }

    fn check_logging(&self) -> Result<(), ConfigError> {
        let LogConfig { udp_port, receiver_port, queue_len, .. } = self.logging;
        is(udp_port != 0, "logging.provider.udp_config.port", &udp_port, PORT)?;
        is(receiver_port != 0, "logging.receiver.udp_config.port", &receiver_port, PORT)?;
        is(queue_len > 0, "ferrocal.logging.queue_len", &queue_len, AT_LEAST_1)
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let Limits { max_message_len, timeout, .. } = limits.reassembly;
        let fits = u64::try_from(max_message_len).is_ok_and(|len| (1..=MAX_MESSAGE_LEN).contains(&len));
        is(fits, "ferrocal.limits.reassembly.max_message_len", &max_message_len, MESSAGE)?;
        for (key, value) in [
            ("ferrocal.limits.reassembly.max_bytes_per_sender", limits.reassembly.max_bytes_per_sender),
            ("ferrocal.limits.reassembly.max_bytes", limits.reassembly.max_bytes),
            ("ferrocal.limits.reassembly.max_messages_per_sender", limits.reassembly.max_messages_per_sender),
            ("ferrocal.limits.reassembly.max_messages", limits.reassembly.max_messages),
            ("ferrocal.limits.max_peers", limits.max_peers),
            ("ferrocal.limits.max_registry_bytes", limits.max_registry_bytes),
            ("ferrocal.limits.max_publishers_per_subscriber", limits.max_publishers_per_subscriber),
        ] {
            is(value > 0, key, &value, AT_LEAST_1)?;
        }
        is(!timeout.is_zero(), "ferrocal.limits.reassembly.timeout_ms", &0, "a time above zero")
    }
}

fn is(ok: bool, key: &'static str, value: &dyn ToString, expected: &'static str) -> Result<(), ConfigError> {
    if ok {
        Ok(())
    } else {
        Err(ConfigError::Value { key, position: None, value: value.to_string(), expected })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_default_makes_sense() {
        Config::default().check().unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        type Break = fn(&mut Config);
        let broken: [(Break, &str); 9] = [
            (|config| config.udp.port = 0, "transport_layer.udp.port"),
            (|config| config.udp.mask = Some(Ipv4Addr::new(0, 0, 0, 15)), "transport_layer.udp.mask"),
            (|config| config.udp.local.group = Ipv4Addr::new(10, 0, 0, 1), "transport_layer.udp.local.group"),
            (|config| config.registration.timeout = Duration::ZERO, "registration.registration_timeout"),
            (|config| config.receive_thread.priority = Some(100), "ferrocal.receive_thread.priority"),
            (|config| config.subscriber.queue_len = 0, "ferrocal.subscriber.queue_len"),
            (|config| config.logging.udp_port = 0, "logging.provider.udp_config.port"),
            (|config| config.limits.max_registry_bytes = 0, "ferrocal.limits.max_registry_bytes"),
            (
                |config| config.limits.reassembly.timeout = Duration::ZERO,
                "ferrocal.limits.reassembly.timeout_ms",
            ),
        ];
        for (break_it, key) in broken {
            let mut config = Config::default();
            break_it(&mut config);
            let message = config.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{key}: `")), "{message}");
        }
    }
}
