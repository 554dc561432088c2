//! Standard output whose reader may go away: `pintle get pods -w | head -n 1`
//! ends when `head` does, quietly.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has what it wanted; that is no failure of ours.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Completes when nobody reads our output any more.
pub async fn reader_gone() {
    // A thread, because files cannot be registered with the runtime. It asks for
    // no event: errors and the reader's end are reported unasked (poll(2)).
    let gone = tokio::task::spawn_blocking(|| {
        let stdout = std::io::stdout();
        let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        poll(&mut descriptors, PollTimeout::NONE)
    });
    if !matches!(gone.await, Ok(Ok(_))) {
        std::future::pending().await
    }
}
