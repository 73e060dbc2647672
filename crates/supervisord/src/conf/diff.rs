//! stub
#[allow(missing_docs)]
pub struct Diff {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}
#[allow(missing_docs)]
pub fn diff<T: PartialEq>(old: &[(String, T)], new: &[(String, T)]) -> Diff {
    let get = |l: &[(String, T)], n: &str| l.iter().position(|(x, _)| x == n);
    Diff {
        added: new
            .iter()
            .filter(|(n, _)| get(old, n).is_none())
            .map(|x| x.0.clone())
            .collect(),
        changed: new
            .iter()
            .filter(|(n, g)| get(old, n).is_some_and(|i| old[i].1 != *g))
            .map(|x| x.0.clone())
            .collect(),
        removed: old
            .iter()
            .filter(|(n, _)| get(new, n).is_none())
            .map(|x| x.0.clone())
            .collect(),
    }
}
