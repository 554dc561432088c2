use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Numbered; the second type parameter of what is tested.
#[derive(Debug, Clone, PartialEq)]
struct Plain(u64);

#[derive(Debug, Clone, PartialEq)]
struct Chained(u64);

impl Turn for Plain {
    const GAPLESS: bool = false;
    fn decisions(&self) -> u64 {
        1
    }
}

impl Turn for Chained {
    const GAPLESS: bool = true;
    fn decisions(&self) -> u64 {
        1
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    /// After so many cuts.
    Begun(u64),
    Turn(u64),
    Lost(u64),
    Dropped,
}

struct Recording {
    seen: Sender<Seen>,
    /// Each turn takes one.
    steps: Receiver<()>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.seen.send(Seen::Dropped);
    }
}

impl Recording {
    fn number(&mut self, number: u64) -> ControlFlow<()> {
        let _ = self.steps.recv();
        let _ = self.seen.send(Seen::Turn(number));
        if number == u64::MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn lost(&mut self, lost: u64) {
        let _ = self.seen.send(Seen::Lost(lost));
    }

    fn begun(&mut self, cuts: u64) -> ControlFlow<()> {
        let _ = self.seen.send(Seen::Begun(cuts));
        ControlFlow::Continue(())
    }
}

impl Follower<Plain> for Recording {
    fn turn(&mut self, turn: Plain) -> ControlFlow<()> {
        self.number(turn.0)
    }
    fn overflowed(&mut self, lost: u64) {
        self.lost(lost);
    }
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        self.begun(cuts)
    }
}

impl Follower<Chained> for Recording {
    fn turn(&mut self, turn: Chained) -> ControlFlow<()> {
        self.number(turn.0)
    }
    fn overflowed(&mut self, lost: u64) {
        self.lost(lost);
    }
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        self.begun(cuts)
    }
}

fn recording() -> (Recording, Sender<()>, Receiver<Seen>) {
    let ((steps, taken), (seen, shown)) = (channel(), channel());
    (Recording { seen, steps: taken }, steps, shown)
}

#[test]
fn turns_arrive_in_order_until_the_handle_is_dropped() {
    let followers = Arc::new(Followers::<Plain>::default());
    assert!(followers.is_empty());
    let (follower, steps, seen) = recording();
    let handle = followers.add(|_| Box::new(follower)).unwrap();
    assert!(!followers.is_empty());
    for number in 0..3 {
        followers.tell(Plain(number));
        steps.send(()).unwrap();
    }
    assert_eq!(seen.recv(), Ok(Seen::Begun(0)));
    for number in 0..3 {
        assert_eq!(seen.recv(), Ok(Seen::Turn(number)));
    }
    handle.end();
    assert!(followers.is_empty());
    followers.tell(Plain(9));
    assert_eq!(seen.recv(), Ok(Seen::Dropped));
}

#[test]
fn one_that_breaks_off_is_forgotten() {
    let followers = Arc::new(Followers::<Plain>::default());
    let (follower, steps, seen) = recording();
    let handle = followers.add(|_| Box::new(follower)).unwrap();
    followers.tell(Plain(u64::MAX));
    steps.send(()).unwrap();
    while seen.recv() != Ok(Seen::Dropped) {}
    // Its thread has let go of the follower and is about to end.
    while !handle.is_over() {
        std::thread::yield_now();
    }
    followers.tell(Plain(1));
    assert!(followers.is_empty());
}

#[test]
fn one_that_is_too_slow_misses_turns_and_the_teller_never_waits() {
    let followers = Arc::new(Followers::<Plain>::default());
    let (follower, steps, seen) = recording();
    let _handle = followers.add(|_| Box::new(follower)).unwrap();
    let told = 3 * MAX_TURNS as u64;
    for number in 0..told {
        followers.tell(Plain(number));
    }
    drop(steps);
    let (mut turns, mut lost) = (0, 0);
    while turns + lost < told {
        match seen.recv().unwrap() {
            Seen::Turn(_) => turns += 1,
            Seen::Lost(count) => lost += count,
            Seen::Begun(_) => {}
            Seen::Dropped => panic!("it goes on"),
        }
    }
    assert!(turns <= MAX_TURNS as u64 + 1 && lost > 0, "{turns} shown, {lost} lost");
}

#[test]
fn without_gaps_one_begins_anew_when_a_turn_is_lost_or_the_stream_is_cut() {
    let followers = Arc::new(Followers::<Chained>::default());
    let (follower, steps, seen) = recording();
    let _handle = followers.add(|_| Box::new(follower)).unwrap();
    assert_eq!(seen.recv(), Ok(Seen::Begun(0)));
    followers.tell(Chained(1));
    followers.admit(1, 0, vec![Chained(2)]);
    followers.tell(Chained(3));
    assert_eq!(seen.recv(), Ok(Seen::Lost(1)), "not open yet");
    for number in [2, 3] {
        steps.send(()).unwrap();
        assert_eq!(seen.recv(), Ok(Seen::Turn(number)));
    }
    followers.interrupt();
    assert_eq!(seen.recv(), Ok(Seen::Begun(1)));
    // That was of before the cut.
    followers.admit(1, 0, vec![Chained(9)]);
    followers.admit(1, 1, Vec::new());
    let told = 2 * MAX_TURNS as u64;
    for number in 0..told {
        followers.tell(Chained(number));
    }
    drop(steps);
    let mut before = 0;
    let lost = loop {
        match seen.recv().unwrap() {
            Seen::Turn(_) => before += 1,
            Seen::Lost(lost) => break lost,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(before + lost, told, "what was queued before the gap is void as well");
    assert_eq!(seen.recv(), Ok(Seen::Begun(2)));
}

#[test]
fn whoever_waits_for_a_follower_is_told_when_it_follows() {
    let (told, heard) = channel();
    let tell = move || {
        let _ = told.send(());
    };
    let chained = Arc::new(Followers::<Chained>::default());
    let (follower, _steps, seen) = recording();
    let handle = chained.add(|_| Box::new(follower)).unwrap();
    handle.when_following(tell.clone());
    assert_eq!(seen.recv(), Ok(Seen::Begun(0)));
    assert!(!handle.is_following() && heard.try_recv().is_err());
    chained.admit(1, 0, Vec::new());
    assert!(handle.is_following() && heard.try_recv().is_ok());

    // Where there is nothing to be shown first it follows at once.
    let plain = Arc::new(Followers::<Plain>::default());
    let (follower, _steps, _seen) = recording();
    let handle = plain.add(|_| Box::new(follower)).unwrap();
    handle.when_following(tell);
    assert!(handle.is_following() && heard.try_recv().is_ok());
}

/// Is about to be let in when its stream is cut, again and again.
struct Hesitant {
    begun: Sender<u64>,
    go_on: Receiver<()>,
    seen: Sender<Seen>,
}

impl Follower<Chained> for Hesitant {
    fn turn(&mut self, turn: Chained) -> ControlFlow<()> {
        let _ = self.seen.send(Seen::Turn(turn.0));
        ControlFlow::Continue(())
    }
    fn overflowed(&mut self, _: u64) {}
    fn begin(&mut self, cuts: u64) -> ControlFlow<()> {
        let _ = self.seen.send(Seen::Begun(cuts));
        let _ = self.begun.send(cuts);
        let _ = self.go_on.recv();
        ControlFlow::Continue(())
    }
}

#[test]
fn cuts_while_one_joins_neither_lose_turns_nor_show_them_twice() {
    let followers = Arc::new(Followers::<Chained>::default());
    let ((begun, begins), (go_on, waits)) = (channel(), channel());
    let (seen, shown) = channel();
    let follower = Hesitant { begun, go_on: waits, seen };
    let _handle = followers.add(|_| Box::new(follower)).unwrap();
    assert_eq!(begins.recv(), Ok(0));
    // Cut twice before it has looked: it begins anew once, of the latest.
    followers.again(1);
    followers.again(1);
    followers.admit(1, 0, vec![Chained(1)]);
    go_on.send(()).unwrap();
    assert_eq!(begins.recv(), Ok(2));
    // The message of the second cut still lies in its queue.
    followers.admit(1, 2, vec![Chained(2)]);
    followers.tell(Chained(3));
    go_on.send(()).unwrap();
    for expect in [Seen::Begun(0), Seen::Begun(2), Seen::Turn(2), Seen::Turn(3)] {
        assert_eq!(shown.recv(), Ok(expect));
    }
    followers.interrupt();
    assert_eq!(begins.recv(), Ok(3));
}
