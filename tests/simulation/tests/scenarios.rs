//! What a person can read in `plugins/*/scenarios`, played.
//! `PINTLE_TABLE=deployment` plays some of it.

use pintle_simulation::{Cast, tables};

#[test]
fn every_scenario_ends_as_it_says() {
    let only = std::env::var("PINTLE_TABLE").unwrap_or_default();
    let played = tables::play(&Cast::native(), &only);
    println!("{played} scenarios");
    assert!(played > 0, "no table of {only:?}");
}
