//! What ends a command that would go on for ever: a signal, or an output that nobody reads any more.

use std::io;

/// Waits for SIGINT or SIGTERM.
///
/// # Errors
/// If signals cannot be listened for.
#[cfg(unix)]
pub(super) async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
///
/// # Errors
/// If it cannot be listened for.
#[cfg(not(unix))]
pub(super) async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Waits until the reader of a piped standard output is gone, which a write would tell only with the next record. An
/// output of another kind has no such reader, so the wait never ends.
#[cfg(unix)]
pub(super) async fn unread() {
    if closed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Never: only a write tells.
#[cfg(not(unix))]
pub(super) async fn unread() {
    std::future::pending::<()>().await;
}

#[cfg(unix)]
async fn closed() -> io::Result<()> {
    use std::os::fd::AsFd as _;
    use tokio::{io::Interest, net::unix::pipe::Sender};
    // Unchecked, because the check would make the pipe non-blocking for everybody who shares it.
    let pipe = Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)?;
    while !pipe.ready(Interest::ERROR).await?.is_error() {}
    Ok(())
}
