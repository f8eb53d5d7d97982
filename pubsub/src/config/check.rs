//! Checks that settings make sense together.

use ferrocal_proto::HashVersion;

use super::keys::KEYS;
use super::kind::MILLISECONDS;
use super::{Config, ConfigError, SettingOrigin};

impl Config {
    /// Checks that each setting is allowed, and that they make sense together. A node does so when it opens.
    ///
    /// # Errors
    /// For the first setting that is not allowed, or that does not fit to another.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(key) = KEYS.iter().find(|key| !(key.is_allowed)(self)) {
            return Err(self.refused(key.name, &(key.show)(self), key.expected));
        }
        let (udp, registration) = (&self.udp, &self.registration);
        // With fewer bits kept, the hash of a name could make an address that is not multicast.
        let mask = udp.effective_mask();
        if udp.hash_version == HashVersion::V2 && mask.octets()[0] & 0xf0 != 0xf0 {
            return Err(self.refused(
                "transport_layer.udp.mask",
                &mask,
                "a mask for config_version v2, which keeps at least the first four bits of the group (such as 255.255.255.240)",
            ));
        }
        if registration.timeout < registration.refresh {
            return Err(self.refused(
                "registration.registration_timeout",
                &(MILLISECONDS.show)(&registration.timeout),
                format!(
                    "at least the registration_refresh ({} ms)",
                    (MILLISECONDS.show)(&registration.refresh)
                ),
            ));
        }
        Ok(())
    }

    fn refused(&self, key: &'static str, value: &dyn ToString, expected: impl Into<Box<str>>) -> ConfigError {
        let position = match self.origin(key) {
            Some(SettingOrigin::File(position)) => Some(position),
            _ => None,
        };
        ConfigError::Value { key, position, value: value.to_string(), expected: expected.into() }
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
        let broken: [(Break, &str); 12] = [
            (|config| config.udp.port = 0, "transport_layer.udp.port"),
            (|config| config.udp.mask = Some(Ipv4Addr::new(0, 0, 0, 15)), "transport_layer.udp.mask"),
            (|config| config.udp.local.group = Ipv4Addr::new(10, 0, 0, 1), "transport_layer.udp.local.group"),
            (|config| config.registration.timeout = Duration::ZERO, "registration.registration_timeout"),
            (|config| config.registration.refresh = Duration::MAX, "registration.registration_refresh"),
            (
                |config| config.publisher.shm.acknowledge_timeout = Duration::MAX,
                "publisher.layer.shm.acknowledge_timeout_ms",
            ),
            (
                |config| config.registration.shm_transport_domain = Some("x".repeat(4097)),
                "registration.shm_transport_domain",
            ),
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
