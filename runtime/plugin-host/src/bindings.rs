//! The WIT worlds as Rust. Types that worlds share are generated once, with
//! the controller's world, and reused by the others.

pub mod controller {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "controller-plugin",
        imports: { default: trappable },
    });
}

pub mod scheduler {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "scheduler-plugin",
        imports: { default: trappable },
        with: {
            "pintle:plugin/types": super::types,
            "pintle:plugin/log": super::log,
        },
    });
}

pub mod scheduler_extension {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "scheduler-extension-plugin",
        with: {
            "pintle:plugin/types": super::types,
            "pintle:plugin/log": super::log,
        },
    });
}

pub mod admission {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "admission-plugin",
        with: {
            "pintle:plugin/types": super::types,
            "pintle:plugin/lister": super::lister,
            "pintle:plugin/changes": super::changes,
            "pintle:plugin/log": super::log,
        },
    });
}

pub mod authorizer {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "authorizer-plugin",
        with: {
            "pintle:plugin/types": super::types,
            "pintle:plugin/log": super::log,
        },
    });
}

pub mod cni {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "cni-plugin",
        with: {
            "pintle:plugin/types": super::types,
            "pintle:plugin/log": super::log,
        },
    });
}

pub use controller::pintle::plugin::{actions, changes, lister, log, types};
