//! Nothing but tests: they read the workspace with `cargo metadata` and compare
//! it with the table in docs/ARCHITECTURE.md.
