//! Random histories of whole clusters. `PINTLE_SEEDS=1000..5000` plays others.

use pintle_simulation::Simulation;

fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("PINTLE_SEEDS").unwrap_or_else(|_| "0..60".to_owned());
    let (from, to) = text.split_once("..").expect("PINTLE_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn everything_comes_to_rest_where_it_should() {
    for seed in seeds() {
        let played = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(error) = played {
            eprintln!("seed {seed} failed; play it with PINTLE_SEEDS={seed}..{}", seed + 1);
            std::panic::resume_unwind(error);
        }
    }
}
