//! Random histories of whole clusters, with the plugins' own Rust types.
//! `PINTLE_SEEDS=2000..50000` plays others.

use pintle_simulation::threads::{play, play_all};
use pintle_simulation::{Cast, Simulation};

fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("PINTLE_SEEDS").unwrap_or_else(|_| "0..2000".to_owned());
    let (from, to) = text.split_once("..").expect("PINTLE_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn everything_comes_to_rest_where_it_should() {
    let started = std::time::Instant::now();
    match play_all(seeds(), Cast::native, |_, _| Ok(())) {
        Ok(count) => {
            let seconds = started.elapsed().as_secs_f64();
            println!("{count} histories in {seconds:.1} s");
        }
        Err(failure) => panic!("{}", failure.report("--test histories")),
    }
}

#[test]
fn the_same_seed_plays_the_same_history() {
    let cast = Cast::native();
    for seed in 0..3 {
        let first = play(&cast, seed).unwrap_or_else(|failure| panic!("{}", failure.report("")));
        let again = Simulation::new(&cast, seed).keep_history().run();
        assert_eq!(first, again, "seed {seed}");
        let other = Simulation::new(&cast, seed + 1).run();
        assert_ne!(first.hash, other.hash, "another seed is another history");
    }
}
