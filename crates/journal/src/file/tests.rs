use super::*;
use crate::store::NEVER;

fn row(id: &str, version: u64, body: &[u8]) -> Row {
    Row {
        kind: Kind::Work,
        id: id.into(),
        version,
        status: Status::Live,
        owner: "me".into(),
        wake: NEVER,
        body: body.into(),
    }
}

async fn put(store: &FileStore, row: &Row) {
    assert!(store.put(row, row.version - 1).await.unwrap());
}

#[tokio::test]
async fn what_was_written_is_there_again_and_a_torn_end_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let store = FileStore::open(&path).unwrap();
    put(&store, &row("a", 1, b"one")).await;
    let whole = std::fs::metadata(&path).unwrap().len();
    put(&store, &row("a", 2, b"two")).await;
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    for end in usize::try_from(whole).unwrap()..=bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let store = FileStore::open(&path).unwrap();
        let found = store.get(Kind::Work, "a").await.unwrap().unwrap();
        let version = if end == bytes.len() { 2 } else { 1 };
        assert_eq!(found.version, version, "{end}");
        // It can be written after that, and read again.
        put(&store, &row("b", 1, b"more")).await;
        drop(store);
        let store = FileStore::open(&path).unwrap();
        assert_eq!(store.list(None, 10).await.unwrap().len(), 2, "{end}");
    }
}

#[tokio::test]
async fn a_file_has_one_user_and_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let store = FileStore::open(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let error = FileStore::open(&path).err().unwrap();
    assert!(
        error.to_string().ends_with("another process has it open"),
        "{error}"
    );
    drop(store);
    FileStore::open(&path).unwrap();
}

#[tokio::test]
async fn damage_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let store = FileStore::open(&path).unwrap();
    put(&store, &row("a", 1, b"one")).await;
    put(&store, &row("b", 1, b"two")).await;
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[frame::HEAD + 30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = FileStore::open(&path).err().unwrap();
    let place = format!(
        "damaged at byte {}, and there is more after that",
        frame::HEAD
    );
    assert!(error.to_string().ends_with(&place), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it was touched");
}

#[tokio::test]
async fn a_file_of_dead_rows_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let store = FileStore::open(&path).unwrap();
    put(&store, &row("kept", 1, b"small")).await;
    let body = vec![b'x'; 300 * 1024];
    for version in 1..=20 {
        put(&store, &row("big", version, &body)).await;
    }
    put(&store, &row("after", 1, b"small")).await;
    drop(store);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 3 * 1024 * 1024, "{size}");
    let store = FileStore::open(&path).unwrap();
    assert_eq!(
        store.get(Kind::Work, "big").await.unwrap().unwrap().version,
        20
    );
    assert_eq!(store.list(None, 10).await.unwrap().len(), 3);
}

#[test]
fn what_cannot_be_written_did_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut log = Log::open(&path).unwrap();
    let mut table = std::mem::take(&mut log.table);
    log.append(&[Entry::Set(row("a", 1, b"one"))]).unwrap();
    table.set(row("a", 1, b"one"));
    // A descriptor that cannot be written, as on a disk that has failed.
    let good = std::mem::replace(&mut log.file, File::open(&path).unwrap());
    assert!(log.append(&[Entry::Set(row("a", 2, b"two"))]).is_err());
    log.file = good;
    // Half a frame is there, as a full disk leaves it.
    let torn = frame::frame(log.salt, log.number, &[Entry::Set(row("a", 2, b"two"))]);
    log.file.seek(SeekFrom::Start(log.whole)).unwrap();
    log.file.write_all(&torn[..torn.len() / 2]).unwrap();
    log.append(&[Entry::Set(row("b", 1, b"three"))]).unwrap();
    drop(log);
    let log = Log::open(&path).unwrap();
    let versions: Vec<_> = log
        .table
        .rows()
        .map(|row| (row.id.as_str(), row.version))
        .collect();
    assert_eq!(versions, [("a", 1), ("b", 1)]);
}
