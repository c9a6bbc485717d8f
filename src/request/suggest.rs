//! "did you mean": the nearest of a few known words.

/// The candidate that `word` was probably meant to be: at most a third of its letters, and at
/// least one, may be wrong, missing, superfluous or swapped with a neighbour.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Foreign input: longer words than any candidate's are not worth the square of their length.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The `most` candidates that are spelled most like `word`, the nearest first; none that differs in
/// more than half of its letters.
pub fn nearest_few<'a>(word: &str, candidates: &[&'a str], most: usize) -> Vec<&'a str> {
    let mut found: Vec<(usize, &str)> = candidates
        .iter()
        .filter(|candidate| candidate.len() <= 64 && word.len() <= 64)
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 2)
        .collect();
    found.sort();
    found
        .into_iter()
        .take(most)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_words_are_not() {
        let keys = [
            "apiVersion",
            "kind",
            "metadata",
            "platforms",
            "images",
            "files",
        ];
        for (word, meant) in [
            ("imagse", Some("images")),
            ("image", Some("images")),
            ("Images", Some("images")),
            ("platform", Some("platforms")),
            ("meta", None),
            ("apiversion", Some("apiVersion")),
            ("spec", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &keys), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &keys), None);
    }
}
