//! Whose thread goes first when there are fewer processors than threads that
//! want one: what pods and requests wait for, then controllers, then whoever
//! only watches.

use crate::plugin::Role;

/// As `nice` has it: higher gives way. Schedulers, extensions and admission have
/// the server's own priority.
fn nice(role: Role) -> i32 {
    match role {
        Role::Controller => 5,
        _ => 0,
    }
}

/// For threads beside the active versions that nobody waits for.
pub(crate) const LOWEST: i32 = 19;

/// For the clock that stops runaways: it must not wait for them.
const FIRST: i32 = -10;

/// Gives the calling thread the priority of a role. Giving way needs no privilege.
pub(crate) fn of_this_thread(role: Role) {
    match nice(role) {
        0 => {}
        nice => set(nice),
    }
}

/// Gives the calling thread a priority below the server's own.
pub(crate) fn give_way(nice: i32) {
    set(nice);
}

/// Puts the calling thread before all others of the server, if that is allowed:
/// it takes a privilege.
pub(crate) fn go_first() {
    set(FIRST);
}

/// Below what decides: for a version that is made ready while another one serves.
const BESIDE: i32 = 5;

/// Runs `work` on a thread that gives way, and waits for it. The processes that
/// it starts give way as well.
pub(crate) fn beside<R: Send>(work: impl Fn() -> R + Sync) -> R {
    let runtime = tokio::runtime::Handle::try_current().ok();
    let done = std::thread::scope(|scope| {
        let run = || {
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            set(BESIDE);
            work()
        };
        let thread = std::thread::Builder::new().name("plugin-load".to_owned());
        let thread = thread.spawn_scoped(scope, run).ok()?;
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // Without a thread to spare it is done here.
    done.unwrap_or_else(work)
}

fn set(nice: i32) {
    // On Linux this means the calling thread, not the process.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, nice, "the priority of a thread stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_and_others_do_not() {
        let of = || rustix::process::getpriority_process(None).unwrap();
        let before = of();
        let on_thread = |set: fn()| {
            let thread = std::thread::spawn(move || {
                set();
                rustix::process::getpriority_process(None).unwrap()
            });
            thread.join().unwrap()
        };
        let scheduler = on_thread(|| of_this_thread(Role::Scheduler));
        let controller = on_thread(|| of_this_thread(Role::Controller));
        let follower = on_thread(|| give_way(LOWEST));
        assert_eq!((scheduler, of()), (before, before));
        let loading = || rustix::process::getpriority_process(None).unwrap();
        assert_eq!((beside(loading), of()), (BESIDE.max(before), before));
        assert!(controller >= scheduler && controller <= follower);
        assert_eq!(follower, LOWEST);
    }
}
