//! Numbers by domain: a list of those that are not zero while there are few,
//! a column when there are many.

use std::collections::BTreeMap;

/// One in so many domains has to be counted before a column is worth it.
const SPARSE: usize = 16;

#[derive(Debug)]
pub enum Counts {
    Few(BTreeMap<u32, i32>),
    Many(Vec<i32>),
}

impl Default for Counts {
    fn default() -> Self {
        Counts::Few(BTreeMap::new())
    }
}

impl Counts {
    #[inline]
    pub fn get(&self, domain: u32) -> i32 {
        match self {
            Counts::Few(few) => few.get(&domain).copied().unwrap_or(0),
            Counts::Many(many) => many.get(domain as usize).copied().unwrap_or(0),
        }
    }

    /// `domains`: how many there are at present.
    pub fn add(&mut self, domain: u32, count: i32, domains: usize) {
        match self {
            Counts::Few(few) => {
                let known = few.entry(domain).or_default();
                *known += count;
                if *known == 0 {
                    few.remove(&domain);
                } else if few.len() > 4 && few.len() * SPARSE > domains {
                    *self = Counts::Many(self.column(domains));
                }
            }
            Counts::Many(many) => {
                let index = domain as usize;
                if many.len() <= index {
                    many.resize(index + 1, 0);
                }
                many[index] += count;
            }
        }
    }

    /// What is not zero.
    pub fn each(&self, mut take: impl FnMut(u32, i32)) {
        match self {
            Counts::Few(few) => few.iter().for_each(|(domain, count)| take(*domain, *count)),
            Counts::Many(many) => {
                let counted = many.iter().enumerate().filter(|(_, count)| **count != 0);
                counted.for_each(|(domain, count)| take(domain as u32, *count));
            }
        }
    }

    pub fn are_few(&self) -> bool {
        matches!(self, Counts::Few(_))
    }

    /// One number for every domain.
    pub fn column(&self, domains: usize) -> Vec<i32> {
        let mut column = match self {
            Counts::Few(_) => vec![0; domains],
            Counts::Many(many) => many.clone(),
        };
        if let Counts::Few(few) = self {
            for (&domain, &count) in few {
                let index = domain as usize;
                if column.len() <= index {
                    column.resize(index + 1, 0);
                }
                column[index] = count;
            }
        }
        if column.len() < domains {
            column.resize(domains, 0);
        }
        column
    }

    /// About how much memory it takes, in numbers.
    pub fn cells(&self) -> usize {
        match self {
            Counts::Few(few) => 16 + 4 * few.len(),
            Counts::Many(many) => many.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_become_many_without_a_difference() {
        let mut counts = Counts::default();
        let mut expect = vec![0; 64];
        for step in 0..200u32 {
            let (domain, count) = (step * 7 % 64, 1 - 2 * i32::from(step % 5 == 0));
            counts.add(domain, count, 64);
            expect[domain as usize] += count;
            assert_eq!(counts.get(domain), expect[domain as usize]);
        }
        assert!(!counts.are_few());
        assert_eq!(counts.column(64), expect);
        let mut sum = 0;
        counts.each(|_, count| sum += count);
        assert_eq!(sum, expect.iter().sum::<i32>());
    }
}
