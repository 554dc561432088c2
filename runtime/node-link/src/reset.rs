//! How a server that was killed and started again gets rid of sessions it does
//! not know: nodes are told so by QUIC's stateless reset, on their next packet.
//!
//! A reset counts only when it carries the token that the old server gave for
//! the session. Both lives therefore compute tokens with the same key, and take
//! note of packets that are not addressed to any session of theirs.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a connection id: what quinn has too, and what keeps a lone ping
/// longer than the reset that answers it.
const ID_BYTES: usize = 8;

/// A thousand nodes are told within a second; somebody who sends forged packets
/// gets no more than that many short answers.
const MIN_RESET_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) fn endpoint_config(secret: &[u8; 32]) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut config = EndpointConfig::new(Arc::new(key));
    config.min_reset_interval(MIN_RESET_INTERVAL);
    config.cid_generator(|| Box::new(Random(SystemRandom::new())));
    config
}

/// quinn's own generator drops packets with ids that it has not made itself.
struct Random(SystemRandom);

impl ConnectionIdGenerator for Random {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        // Fails on no system that has booted; an id met twice is made again.
        let _ = self.0.fill(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
