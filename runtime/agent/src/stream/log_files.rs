//! A container's log files, the rotated ones included, as one sequence of bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes read from a file at once.
const READ: usize = 64 << 10;

/// The log's files as one sequence of bytes, across rotations.
pub struct Source {
    path: PathBuf,
    file: File,
    /// Rotated files still to be read after the open one, the oldest last.
    newer: Vec<PathBuf>,
}

pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// More are never kept.
const MAX_FILES: u32 = 1000;

impl Source {
    /// Opens at the beginning, or so that `tail` lines follow.
    pub fn open(path: &Path, tail: Option<u64>) -> io::Result<Source> {
        let oldest = (0..MAX_FILES)
            .take_while(|number| numbered(path, *number).exists())
            .last()
            .unwrap_or(0);
        let Some(lines) = tail else {
            return Source::at(path, oldest, 0);
        };
        let mut wanted = lines;
        for number in 0..=oldest {
            let mut file = File::open(numbered(path, number))?;
            match tail_offset(&mut file, &mut wanted)? {
                Some(offset) => return Source::at(path, number, offset),
                None if number == oldest => return Source::at(path, number, 0),
                None => {}
            }
        }
        Source::at(path, oldest, 0)
    }

    fn at(path: &Path, number: u32, offset: u64) -> io::Result<Source> {
        let mut file = File::open(numbered(path, number))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Source {
            path: path.to_owned(),
            file,
            newer: (0..number).map(|number| numbered(path, number)).collect(),
        })
    }

    /// The next bytes; `None` when there are none yet.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = vec![0; READ];
        loop {
            let count = self.file.read(&mut chunk)?;
            if count > 0 {
                chunk.truncate(count);
                return Ok(Some(chunk));
            }
            match self.following()? {
                Some(file) => {
                    // What came between the last read and the rotation.
                    let count = self.file.read(&mut chunk)?;
                    if count > 0 {
                        chunk.truncate(count);
                        return Ok(Some(chunk));
                    }
                    self.file = file;
                }
                None => return Ok(None),
            }
        }
    }

    /// The file after the open one, found by what the open one is called now.
    fn following(&mut self) -> io::Result<Option<File>> {
        self.newer.clear();
        let own = self.file.metadata()?;
        for number in 0..MAX_FILES {
            let Ok(other) = std::fs::metadata(numbered(&self.path, number)) else {
                break;
            };
            if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
                return match number {
                    0 => Ok(None),
                    number => File::open(numbered(&self.path, number - 1)).map(Some),
                };
            }
        }
        // Rotated out of existence while it was read: go on with the oldest there is.
        let oldest =
            (0..MAX_FILES).take_while(|number| numbered(&self.path, *number).exists()).last();
        match oldest {
            Some(number) => File::open(numbered(&self.path, number)).map(Some),
            None => Ok(None),
        }
    }
}

/// Where the last `wanted` lines begin; `None` (and `wanted` reduced) when the
/// file has fewer.
fn tail_offset(file: &mut File, wanted: &mut u64) -> io::Result<Option<u64>> {
    let end = file.metadata()?.len();
    if *wanted == 0 {
        return Ok(Some(end));
    }
    let mut position = end;
    let mut chunk = vec![0; READ];
    let mut last = true;
    while position > 0 {
        let count = (READ as u64).min(position) as usize;
        position -= count as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut chunk[..count])?;
        for index in (0..count).rev() {
            if chunk[index] != b'\n' {
                continue;
            }
            if std::mem::take(&mut last) && position + index as u64 + 1 == end {
                continue;
            }
            *wanted -= 1;
            if *wanted == 0 {
                return Ok(Some(position + index as u64 + 1));
            }
        }
    }
    if end > 0 {
        *wanted -= 1;
    }
    Ok((*wanted == 0).then_some(0))
}
