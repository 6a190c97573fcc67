mod store {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::store_conformance!(fresh_store);
}

mod sessions {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::session_conformance!(fresh_store);
}

mod chats {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::chat_conformance!(fresh_store);
}

mod shared_answers {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::shared_answer_conformance!(fresh_store);
}

mod batches {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::batch_conformance!(fresh_store);
}

mod jobs {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::job_conformance!(fresh_store);
}

mod notices {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::notice_conformance!(fresh_store);
}

mod views {
    use medcards_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn fresh_store() -> (SqliteStore, TempDir) {
        crate::fresh::store().await
    }

    medcards_core::view_conformance!(fresh_store);
}
