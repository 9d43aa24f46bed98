//! The one reading of files in the domain: a zoneinfo folder, as `zic` and packagers make it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// `America/Argentina/Buenos_Aires` is as deep as names go.
const DEPTH: usize = 3;

/// The tzdata release of a zoneinfo folder, if it tells one.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn release(folder: &Path) -> io::Result<Option<String>> {
    fs::read_dir(folder)?;
    let told = ["tzdata.zi", "+VERSION", "version"].into_iter().find_map(|file| {
        let line = first_line(&folder.join(file)).ok()?;
        let version = match file {
            "tzdata.zi" => line.trim().strip_prefix("# version ")?,
            _ => line.trim(),
        };
        super::age(version).map(|_| version.to_owned())
    });
    Ok(told)
}

/// All compiled zones of a folder by name, with the links that its `tzdata.zi` knows although
/// the packager left out their files (Debian keeps `US/Pacific` in a package of its own).
///
/// # Errors
/// If the folder or one of its zones cannot be read.
pub(super) fn zones(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut zones = BTreeMap::new();
    walk(folder, "", 1, &mut zones)?;
    let source = fs::read_to_string(folder.join("tzdata.zi")).unwrap_or_default();
    for line in source.lines() {
        let mut words = line.split_whitespace();
        if let (Some("L"), Some(target), Some(name)) = (words.next(), words.next(), words.next())
            && !zones.contains_key(name)
            && let Some(tzif) = zones.get(target).cloned()
        {
            zones.insert(name.to_owned(), tzif);
        }
    }
    Ok(zones)
}

/// Whether a file of that name is a zone that a lab can be in.
pub(super) fn is_zone_name(name: &str) -> bool {
    // `posix/` and `right/` repeat all zones, the latter with leap seconds; the others are
    // whatever the host is set to, or a place for "nobody chose one".
    let top = name.split('/').next().unwrap_or_default();
    !matches!(top, "posix" | "right" | "localtime" | "posixrules" | "Factory")
}

fn walk(folder: &Path, prefix: &str, depth: usize, into: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        let name = format!("{prefix}{file}");
        if !is_zone_name(&name) {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH {
                walk(&path, &format!("{name}/"), depth + 1, into)?;
            }
        } else if let Some(tzif) = tzif(&path)? {
            into.insert(name, tzif);
        }
    }
    Ok(())
}

/// The bytes of a compiled zone; `None` if the file is something else.
fn tzif(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // A link that leads nowhere, or a file that was replaced since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(4).read_to_end(&mut bytes)?;
    if bytes != b"TZif" {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(256)).read_line(&mut line)?;
    Ok(line)
}
