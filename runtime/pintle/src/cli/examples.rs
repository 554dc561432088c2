//! What `--help` shows below the options: how each command is used.

use clap::Command;

/// By the words that name a command.
const EXAMPLES: &[(&[&str], &str)] = &[
    (
        &["up"],
        "  pintle up                                          a cluster of one machine, as root
  pintle up --data-dir ./state --listen 127.0.0.1:6443
  KUBECONFIG=/var/lib/pintle/admin.kubeconfig kubectl get nodes",
    ),
    (
        &["server"],
        "  pintle server --listen 0.0.0.0:6443 --tls-san cluster.example.org
  pintle server --config /etc/pintle.toml            data-dir = \"/srv/pintle\"
                                                     storage = \"redb\"",
    ),
    (
        &["agent"],
        "  pintle agent --server 192.0.2.1:6444 --join TOKEN  the first time; TOKEN is from the
                                                     server's `pintle token create`
  pintle agent                                       ever after
  pintle agent --node-labels disk=ssd,zone=a",
    ),
    (&["reset"], "  pintle reset --data-dir ./state"),
    (
        &["token", "create"],
        "  pintle agent --server 192.0.2.1:6444 --join \"$(pintle token create --ttl 10m)\"",
    ),
    (&["token", "revoke"], "  pintle token revoke egsixo"),
    (
        &["image", "import"],
        "  docker save web:1 | pintle image import -
  pintle image import ./oci-layout --name registry.example/web:1",
    ),
    (&["image", "rm"], "  pintle image rm registry.example/web:1"),
    (
        &["plugin", "load"],
        "  pintle plugin load quota ./quota.wasm --grant
  pintle plugin load quota oci://registry.example/team/quota:1.0 --public-key release.pub",
    ),
    (
        &["plugin", "new"],
        "  pintle plugin new scorer --role scheduler-extension
  pintle plugin new scorer --role controller --sdk ~/src/pintle",
    ),
    (&["plugin", "build"], "  pintle plugin build ./scorer"),
    (&["plugin", "test"], "  pintle plugin test ./scorer -- --nocapture"),
    (
        &["plugin", "pack"],
        "  pintle plugin pack                                 of the project in this folder
  pintle plugin pack scorer.wasm -o scorer.tar",
    ),
    (
        &["plugin", "push"],
        "  pintle plugin push registry.example/team/scorer:1.0 --sign release.key
  pintle plugin push localhost:5000/scorer:1.0 scorer.wasm --insecure",
    ),
    (
        &["plugin", "inspect"],
        "  pintle plugin inspect scorer.wasm
  pintle plugin inspect oci://registry.example/team/scorer:1.0 --public-key release.pub",
    ),
    (&["plugin", "sign"], "  pintle plugin sign scorer.wasm --key release.key"),
    (
        &["plugin", "keygen"],
        "  pintle plugin keygen release                       release.key, release.pub",
    ),
    (
        &["plugin", "swap"],
        "  pintle plugin swap scheduler ./my-scheduler.wasm
  pintle plugin swap scheduler --embedded            back to the built-in one",
    ),
    (
        &["plugin", "record"],
        "  pintle plugin record scheduler -o scheduler.trace --for 30s
  pintle plugin record deployment -o bug.trace       until Ctrl-C",
    ),
    (
        &["plugin", "replay"],
        "  pintle plugin replay scheduler.trace
  pintle plugin replay scheduler.trace --with ./my-scheduler.wasm
  pintle plugin replay scheduler.trace --config '{\"scoringStrategy\": \"MostAllocated\"}'",
    ),
    (
        &["plugin", "diff"],
        "  pintle plugin diff scheduler
  pintle plugin diff scheduler -o json | jq .items[0]",
    ),
    (&["plugin", "rollback"], "  pintle plugin rollback scheduler"),
    (
        &["get"],
        "  pintle get pods -A -o wide
  pintle get deploy,svc -l app=web
  pintle get pod/web-0 -o yaml
  pintle get pods -w --field-selector spec.nodeName=node-a",
    ),
    (
        &["apply"],
        "  pintle apply -f web.yaml
  pintle apply -f ./manifests/ -n staging
  sed 's/replicas: 2/replicas: 5/' web.yaml | pintle apply -f -",
    ),
    (
        &["delete"],
        "  pintle delete deploy/web
  pintle delete pod web-0 --grace-period 1
  pintle delete -f web.yaml",
    ),
    (
        &["logs"],
        "  pintle logs -f deploy/web
  pintle logs web-0 -c proxy --tail 20
  pintle logs web-0 --previous",
    ),
    (
        &["exec"],
        "  pintle exec -it web-0 -- sh
  pintle exec deploy/web -- wget -qO- http://127.0.0.1:8080
  tar c ./site | pintle exec -i web-0 -- tar x -C /srv",
    ),
    (
        &["completions"],
        "  pintle completions bash > /etc/bash_completion.d/pintle
  pintle completions zsh > \"${fpath[1]}/_pintle\"
  pintle completions fish > ~/.config/fish/completions/pintle.fish",
    ),
];

pub fn add(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (words, text)| at(command, words, text))
}

fn at(command: Command, words: &[&str], text: &'static str) -> Command {
    match words.split_first() {
        None => command.after_help(format!("Examples:\n{text}")),
        Some((word, rest)) => command.mut_subcommand(word, |below| at(below, rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn examples_belong_to_commands_that_exist() {
        let command = Cli::command();
        for (words, text) in EXAMPLES {
            let found = words.iter().try_fold(&command, |at, word| at.find_subcommand(word));
            assert!(found.is_some(), "{words:?}");
            assert!(text.contains(&format!("pintle {}", words.join(" "))), "{words:?}");
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        for (_, text) in EXAMPLES {
            assert!(text.lines().all(|line| line.chars().count() <= 90), "{text}");
        }
    }
}
