//! The same histories with the real components, in the host's sandbox and under
//! fuel: each must be the one that the Rust types play, action by action.
//! `PINTLE_SEEDS=100..200` plays others.

use pintle_simulation::cast::Components;
use pintle_simulation::threads::{play, play_all};
use pintle_simulation::{Cast, Simulation, tables};

fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("PINTLE_SEEDS").unwrap_or_else(|_| "0..40".to_owned());
    let (from, to) = text.split_once("..").expect("PINTLE_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn components_play_the_history_of_their_types() {
    let started = std::time::Instant::now();
    let components = Components::build();
    let played = play_all(
        seeds(),
        || components.cast(),
        |played, seed| {
            let native = play(&Cast::native(), seed).map_err(|failure| failure.message)?;
            if native == *played { Ok(()) } else { Err(first_difference(&components, seed)) }
        },
    );
    match played {
        Ok(count) => {
            let seconds = started.elapsed().as_secs_f64();
            println!("{count} histories, natively and with components, in {seconds:.1} s");
        }
        Err(failure) => panic!("{}", failure.report("--features components --test components")),
    }
}

#[test]
fn components_play_every_scenario() {
    let played = tables::play(&Components::build().cast(), "");
    println!("{played} scenarios");
}

fn first_difference(components: &Components, seed: u64) -> String {
    let lines = |cast: &Cast| -> Vec<String> {
        let mut simulation = Simulation::new(cast, seed).keep_history();
        simulation.run();
        simulation.cluster.history().map(str::to_owned).collect()
    };
    let (native, component) = (lines(&Cast::native()), lines(&components.cast()));
    let differs = native.iter().zip(&component).position(|(one, other)| one != other);
    match differs {
        Some(at) => {
            format!("line {at} differs:\nnatively:  {}\ncomponent: {}", native[at], component[at])
        }
        None => format!("{} lines natively, {} with components", native.len(), component.len()),
    }
}
