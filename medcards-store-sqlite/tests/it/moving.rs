use medcards_core::conformance::transfer::fill;
use medcards_core::transfer::{Part, Place, Row, TransferSource};

use crate::fresh;

/// However few rows are read at a time, all of each part come, once and in their order.
#[tokio::test]
async fn all_parts_of_a_filled_store_can_be_read() {
    let (store, _folder) = fresh::store().await;
    fill(&store, 300).await;
    for part in Part::ALL {
        let whole = read(&store, part, 10_000).await;
        assert!(!whole.is_empty(), "there are {part}");
        assert_eq!(store.count_rows(part).await.unwrap(), whole.len() as u64);
        assert!(whole.iter().all(|row| row.part() == part));
        for limit in [1, 7] {
            let pieces = read(&store, part, limit).await;
            let forms = |rows: &[Row]| rows.iter().map(|row| format!("{row:?}")).collect();
            let (pieces, whole): (Vec<String>, Vec<String>) = (forms(&pieces), forms(&whole));
            assert!(pieces == whole, "{part}, {limit} at a time");
        }
    }
}

async fn read(store: &impl TransferSource, part: Part, limit: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut after: Option<Place> = None;
    loop {
        let batch = store.read_rows(part, after.as_ref(), limit).await.unwrap();
        assert!(batch.unreadable.is_empty(), "{:?}", batch.unreadable);
        rows.extend(batch.rows);
        after = batch.next;
        if after.is_none() {
            return rows;
        }
    }
}
