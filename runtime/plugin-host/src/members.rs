//! Plugins of one role that are asked one after the other: in order of priority,
//! then of name. Does not know what they are asked.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub(crate) trait Member: Clone {
    fn name(&self) -> &str;
    fn priority(&self) -> i32;
    /// Whether a version of it is there and answers.
    fn is_present(&self) -> bool;
}

pub(crate) struct Members<M>(ArcSwap<Vec<M>>);

impl<M> Default for Members<M> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<M: Member> Members<M> {
    pub fn load(&self) -> Guard<Arc<Vec<M>>> {
        self.0.load()
    }

    pub fn load_full(&self) -> Arc<Vec<M>> {
        self.0.load_full()
    }

    /// Puts it where its priority and name say, in place of its namesake. One that
    /// is absent gives way to a namesake that is there: the version before goes on.
    pub fn put(&self, member: &M) {
        self.0.rcu(|members| {
            let is_namesake = |other: &&M| other.name() == member.name();
            if !member.is_present() && members.iter().filter(is_namesake).any(M::is_present) {
                return members.clone();
            }
            let others = members.iter().filter(|other| !is_namesake(other));
            let mut members: Vec<M> = others.cloned().collect();
            members.push(member.clone());
            members.sort_by(|a, b| (a.priority(), a.name()).cmp(&(b.priority(), b.name())));
            Arc::new(members)
        });
    }

    pub fn remove(&self, name: &str) {
        self.0.rcu(|members| {
            members.iter().filter(|member| member.name() != name).cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = (&'static str, i32, bool);

    impl Member for Said {
        fn name(&self) -> &str {
            self.0
        }
        fn priority(&self) -> i32 {
            self.1
        }
        fn is_present(&self) -> bool {
            self.2
        }
    }

    #[test]
    fn in_order_and_absent_ones_give_way() {
        fn check(put: &[Said], expect: &[Said]) {
            let members = Members::default();
            put.iter().for_each(|member| members.put(member));
            assert_eq!(**members.load(), expect);
            put.iter().for_each(|member| members.remove(member.0));
            assert!(members.load_full().is_empty());
        }
        let (first, second) = (("z", -1, true), ("a", 0, true));
        check(&[second, ("b", 0, true), first], &[first, second, ("b", 0, true)]);
        check(&[second, ("a", 5, true)], &[("a", 5, true)]);
        check(&[second, ("a", 0, false)], &[second]);
        check(&[("a", 0, false), ("a", 3, false)], &[("a", 3, false)]);
        check(&[("a", 0, false), second], &[second]);
    }
}
