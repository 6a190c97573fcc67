//! Files: what batches read, and what they leave.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use medcards::Timestamp;
use serde_json::{Value, json};

use super::{answer, batch, multipart};
use crate::simulator::play::json_response;
use crate::simulator::problem::{Problem, ProblemKind, read_body};
use crate::simulator::state::Shared;

const UPLOAD: &str = "POST /v1/files";
const FIND: &str = "GET /v1/files/{id}";
const CONTENT: &str = "GET /v1/files/{id}/content";
const DELETE: &str = "DELETE /v1/files/{id}";

/// The most files that are kept, and the most bytes of them; the oldest go first.
const FILES_MAX: usize = 1_000;
const FILES_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A file that was uploaded.
#[derive(Clone, Debug)]
struct File {
    id: String,
    created_at: Timestamp,
    filename: String,
    purpose: String,
    content: Bytes,
}

/// The files of one simulator, the oldest first.
#[derive(Debug, Default)]
pub(in crate::simulator) struct Files {
    files: VecDeque<File>,
}

impl Files {
    /// What a file holds.
    pub(super) fn content(&self, id: &str) -> Option<Bytes> {
        self.find(id).map(|file| file.content.clone())
    }

    fn find(&self, id: &str) -> Option<&File> {
        self.files.iter().find(|file| file.id == id)
    }

    fn add(&mut self, file: File) {
        self.files.push_back(file);
        let bytes =
            |files: &VecDeque<File>| -> usize { files.iter().map(|file| file.content.len()).sum() };
        while self.files.len() > FILES_MAX || bytes(&self.files) > FILES_BYTES_MAX {
            self.files.pop_front();
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/files", post(upload))
        .route("/v1/files/{id}", get(find).delete(delete))
        .route("/v1/files/{id}/content", get(content))
}

async fn upload(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = read_body(request, shared.batch_bytes_max()).await;
    answer(&shared, UPLOAD, &headers, || {
        let file = file_in(&headers, &body?, &shared)?;
        let json = file_json(&file);
        shared.state().files.add(file);
        Ok(json_response(&json))
    })
    .await
}

async fn find(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, FIND, &headers, || {
        let state = shared.state();
        let file = state.files.find(&id).ok_or_else(|| unknown(&id))?;
        Ok(json_response(&file_json(file)))
    })
    .await
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, DELETE, &headers, || {
        let mut state = shared.state();
        state.files.find(&id).ok_or_else(|| unknown(&id))?;
        state.files.files.retain(|file| file.id != id);
        let deleted = json!({ "id": id, "object": "file", "deleted": true });
        Ok(json_response(&deleted))
    })
    .await
}

async fn content(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(&shared, CONTENT, &headers, || {
        let media_type = [(CONTENT_TYPE, "application/octet-stream")];
        let uploaded = shared.state().files.content(&id);
        match uploaded {
            Some(content) => Ok((media_type, content).into_response()),
            None => {
                let written = batch::written(&id, &shared).ok_or_else(|| unknown(&id))?;
                Ok((media_type, written).into_response())
            }
        }
    })
    .await
}

/// What is said of a file that is not there.
pub(super) fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(100).collect();
    Problem::new(ProblemKind::NotFound, format!("there is no file {id}"))
}

fn file_in(headers: &HeaderMap, body: &Bytes, shared: &Shared) -> Result<File, Problem> {
    let boundary = multipart::boundary_of(headers);
    let boundary = boundary.ok_or_else(|| Problem::invalid("send a form, multipart/form-data"))?;
    let parts = multipart::parts_of(body, &boundary);
    let mut parts = parts.ok_or_else(|| Problem::invalid("the form cannot be read"))?;
    let mut take = |name: &str| {
        let place = parts.iter().position(|part| part.name == name);
        let place = place.ok_or_else(|| Problem::invalid(format!("'{name}' is required")))?;
        Ok::<_, Problem>(parts.swap_remove(place))
    };
    let purpose = take("purpose")?;
    let purpose = String::from_utf8_lossy(&purpose.content).into_owned();
    if purpose != "batch" {
        let message = "'purpose' must be 'batch': the simulator has no other";
        return Err(Problem::invalid(message));
    }
    let file = take("file")?;
    Ok(File {
        id: format!("file-{}", shared.id()),
        created_at: shared.now(),
        filename: file.filename.unwrap_or_default(),
        purpose,
        content: file.content,
    })
}

fn file_json(file: &File) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.content.len(),
        "created_at": file.created_at.as_second(),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    })
}
