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
        assert!(controller >= scheduler && controller <= follower);
        assert_eq!(follower, LOWEST);
    }
}
