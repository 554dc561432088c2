//! A component with the two documents that make it an artifact.

use bytes::Bytes;

use crate::digest::Digest;
use crate::manifest::{
    ComponentInterface, Description, Descriptor, MANIFEST, Manifest, WASM_CONFIG, WASM_LAYER,
    WasmConfig,
};

/// The three blobs of an artifact; the manifest's digest is the artifact's.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    pub component: Bytes,
    pub(crate) config: Bytes,
    pub(crate) manifest: Bytes,
}

impl Package {
    /// The same input gives the same bytes, and so the same digest.
    pub fn new(component: Bytes, interface: ComponentInterface, about: &Description) -> Self {
        let layer = Descriptor::of(WASM_LAYER, &component);
        let config = WasmConfig {
            created: about.created.clone(),
            architecture: "wasm".to_owned(),
            // What the layout knows for components; it says nothing of their imports.
            os: "wasip2".to_owned(),
            layer_digests: vec![layer.digest.clone()],
            component: Some(interface),
        };
        let config = json(&config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::of(WASM_CONFIG, &config),
            layers: vec![layer],
            annotations: about.annotations(),
        };
        Self { component, config, manifest: json(&manifest) }
    }

    /// Of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub fn component_digest(&self) -> Digest {
        Digest::of(&self.component)
    }

    pub fn annotations(&self) -> std::collections::BTreeMap<String, String> {
        serde_json::from_slice::<Manifest>(&self.manifest)
            .map(|manifest| manifest.annotations)
            .unwrap_or_default()
    }
}

/// Our own types have string keys and no floats: they always have a JSON form.
pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("plain data has a JSON form"))
}

/// The one layer of a manifest that describes a component, or why it is none.
pub(crate) fn component_layer(manifest: &Manifest) -> Result<&Descriptor, String> {
    if manifest.config.media_type != WASM_CONFIG {
        return Err(format!(
            "its config is {}, not {WASM_CONFIG}: it is no WebAssembly artifact",
            manifest.config.media_type
        ));
    }
    match manifest.layers.as_slice() {
        [layer] if layer.media_type == WASM_LAYER => Ok(layer),
        [layer] => Err(format!("its layer is {}, not {WASM_LAYER}", layer.media_type)),
        layers => Err(format!("it has {} layers; a component is exactly one", layers.len())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_package_is_laid_out_as_others_expect() {
        let interface = ComponentInterface {
            exports: vec!["pintle:plugin/scheduler@0.1.0".into()],
            imports: vec!["pintle:plugin/log@0.1.0".into()],
        };
        let about = Description {
            title: "scorer".into(),
            version: "1.2".into(),
            created: "2026-01-02T03:04:05Z".into(),
            ..Description::default()
        };
        let package = Package::new(Bytes::from_static(b"wasm"), interface, &about);
        let layer = Digest::of(b"wasm");
        let config: Value = serde_json::from_slice(&package.config).unwrap();
        assert_eq!(
            config,
            json!({
                "created": "2026-01-02T03:04:05Z", "architecture": "wasm", "os": "wasip2",
                "layerDigests": [layer.as_str()],
                "component": {
                    "exports": ["pintle:plugin/scheduler@0.1.0"],
                    "imports": ["pintle:plugin/log@0.1.0"],
                },
            })
        );
        let manifest: Value = serde_json::from_slice(&package.manifest).unwrap();
        assert_eq!(
            manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.wasm.config.v0+json",
                    "digest": Digest::of(&package.config).as_str(),
                    "size": package.config.len(),
                },
                "layers": [
                    { "mediaType": "application/wasm", "digest": layer.as_str(), "size": 4 },
                ],
                "annotations": {
                    "org.opencontainers.image.title": "scorer",
                    "org.opencontainers.image.version": "1.2",
                    "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
                },
            })
        );
    }

    #[test]
    fn other_artifacts_are_told_apart() {
        let package = Package::new(
            Bytes::from_static(b"w"),
            ComponentInterface::default(),
            &Description::default(),
        );
        let good: Manifest = serde_json::from_slice(&package.manifest).unwrap();
        assert!(component_layer(&good).is_ok());
        let check = |change: fn(&mut Manifest), expect: &str| {
            let mut manifest = good.clone();
            change(&mut manifest);
            let error = component_layer(&manifest).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check(
            |m| m.config.media_type = "application/vnd.oci.image.config.v1+json".into(),
            "no WebAssembly artifact",
        );
        check(|m| m.layers[0].media_type = "application/tar".into(), "application/tar");
        check(|m| m.layers.clear(), "0 layers");
    }
}
