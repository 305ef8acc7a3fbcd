//! Files of tests, by name or below a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files that were named, and all `*.test.yaml` below the folders that were named: each once, those of a folder in
/// the order of their names. What begins with a dot is left out, as are links to folders.
pub fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for path in named {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let before = all.len();
        below(path, &mut all).map_err(|e| format!("{}: cannot be read: {e}", path.display()))?;
        if all.len() == before {
            return Err(format!("{}: holds no `*.test.yaml`: name the file itself", path.display()));
        }
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for path in all {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    Ok(once)
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            below(&path, found)?;
        } else if name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
            found.push(path);
        }
    }
    Ok(())
}
