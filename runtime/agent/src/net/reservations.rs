//! Which address belongs to which sandbox, written down before it is used.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::pod::record::{read_json, write_json};

#[derive(Debug)]
pub struct Reservations {
    path: PathBuf,
    /// Address to sandbox.
    by_address: BTreeMap<String, String>,
}

impl Reservations {
    pub fn load(path: &Path) -> io::Result<Reservations> {
        let by_address = match read_json(path) {
            Ok(read) => read.unwrap_or_default(),
            // A power cut can leave the file empty. It also leaves no sandbox, so
            // no address is in use; and the pods set up their networks anew.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                warn!(%error, "the reserved addresses cannot be read, none is taken as in use");
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Reservations { path: path.to_owned(), by_address })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.by_address.iter()
    }

    pub fn of(&self, sandbox: &str) -> Vec<String> {
        let own =
            |(address, owner): (&String, &String)| (owner == sandbox).then(|| address.clone());
        self.by_address.iter().filter_map(own).collect()
    }

    /// All or none; the address that is taken is the error.
    pub fn reserve(
        &mut self,
        sandbox: &str,
        addresses: &[String],
    ) -> io::Result<Result<(), String>> {
        let taken =
            |address: &&String| self.by_address.get(*address).is_some_and(|owner| owner != sandbox);
        if let Some(address) = addresses.iter().find(taken) {
            return Ok(Err(address.clone()));
        }
        let mut next = self.by_address.clone();
        next.extend(addresses.iter().map(|address| (address.clone(), sandbox.to_owned())));
        self.replace(next).map(Ok)
    }

    pub fn release(&mut self, sandbox: &str) -> io::Result<()> {
        let mut next = self.by_address.clone();
        next.retain(|_, owner| owner != sandbox);
        if next.len() == self.by_address.len() {
            return Ok(());
        }
        self.replace(next)
    }

    /// The file first: what is in memory is never ahead of it.
    fn replace(&mut self, next: BTreeMap<String, String>) -> io::Result<()> {
        write_json(&self.path, &next)?;
        self.by_address = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_owner_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reservations.json");
        let mut first = Reservations::load(&path).unwrap();
        let addresses = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(first.reserve("a", &addresses(&["10.0.0.1", "10.0.0.2"])).unwrap(), Ok(()));
        assert_eq!(first.reserve("a", &addresses(&["10.0.0.1"])).unwrap(), Ok(()));
        let mut second = Reservations::load(&path).unwrap();
        let refused = second.reserve("b", &addresses(&["10.0.0.3", "10.0.0.2"])).unwrap();
        assert_eq!(refused, Err("10.0.0.2".to_owned()));
        assert!(second.of("b").is_empty());
        second.release("a").unwrap();
        assert_eq!(second.reserve("b", &addresses(&["10.0.0.2"])).unwrap(), Ok(()));
        assert_eq!(Reservations::load(&path).unwrap().of("b"), addresses(&["10.0.0.2"]));
    }
}
