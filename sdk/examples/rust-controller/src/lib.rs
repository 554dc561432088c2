//! A controller for a kind of its own: every `Website` gets a Deployment and a
//! Service, both owned by it, and says in its status whether it is up.
use pintle_sdk::prelude::*;
use serde_json::json;

pub const WEBSITE: KindRef = KindRef::new("example.com", "v1", "Website");

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Website {
    pub metadata: ObjectMeta,
    pub spec: WebsiteSpec,
    pub status: WebsiteStatus,
}
pintle_sdk::resource!(Website, WEBSITE);

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct WebsiteSpec {
    pub image: String,
    pub replicas: Option<i64>,
}

#[derive(Default, serde::Deserialize)]
pub struct WebsiteStatus {
    pub conditions: Vec<Condition>,
}

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let all = &["get", "list", "watch", "create", "patch"];
        Description::new(
            pintle_sdk::manifest!()
                .needs(WEBSITE, &["get", "watch", "patch/status"], "says whether a site is up")
                .needs(DEPLOYMENT, all, "runs the site")
                .needs(SERVICE, all, "makes the site reachable"),
        )
        .watch(Watch::of(WEBSITE).when_changed(&["spec"]))
        .watch(Watch::of(DEPLOYMENT).enqueue(Enqueue::ControllerOwner(WEBSITE)))
        .watch(Watch::of(SERVICE).enqueue(Enqueue::ControllerOwner(WEBSITE)))
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(site) = request.read::<Website>(lister)? else { return Ok(outcome) };
        if site.metadata.is_being_deleted() {
            return Ok(outcome); // what it owns goes with it
        }
        let (namespace, name) = (&site.reference.namespace, &site.reference.name);
        let (image, replicas) = (json!(site.spec.image), site.spec.replicas.unwrap_or(1));
        let labels = json!({"website": name});
        let deployment = lister.read::<Deployment>(namespace, name)?;
        let pods = json!({"containers": [{"name": "site", "image": image}]});
        match &deployment {
            None => {
                let template = json!({"metadata": {"labels": labels}, "spec": pods});
                let object = json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
                    "selector": {"matchLabels": labels}, "template": template}});
                outcome.push(Create::new(DEPLOYMENT, namespace, &object).owned_by(&site));
            }
            Some(known)
                if known.spec.replicas != Some(replicas)
                    || known.spec.template["spec"]["containers"][0]["image"] != image =>
            {
                let spec = json!({"spec": {"replicas": replicas, "template": {"spec": pods}}});
                outcome.push(Patch::merge(known, &spec));
            }
            Some(_) => {}
        }
        if lister.read::<Service>(namespace, name)?.is_none() {
            let object = json!({"metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 80}]}});
            outcome.push(Create::new(SERVICE, namespace, &object).owned_by(&site));
        }
        let up = deployment.map_or(0, |known| known.status.ready_replicas);
        let note = format!("{up} of {replicas} are up");
        let ready = Condition::when("Ready", up >= replicas, "Replicas", note);
        let mut list = site.status.conditions.clone();
        if conditions::set(&mut list, ready, &context.now()) {
            outcome.push(Patch::status_of(&site, &json!({"conditions": list})));
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
