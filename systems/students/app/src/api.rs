//! The HTTP interface.

use axum::{
    Json, Router,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    database::{Database, DatabaseError, full},
    metrics::{self, Metrics},
};

/// A student.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Student {
    /// Assigned by the server.
    #[schema(example = 1)]
    pub(crate) id: i64,
    /// Full name, not empty.
    #[schema(example = "Max")]
    pub(crate) name: String,
    /// Age in years.
    #[schema(example = 25, minimum = 0, maximum = 150)]
    pub(crate) age: i32,
}

/// What a client sends to create a student; an `id` is ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct NewStudent {
    /// Full name, not empty.
    #[schema(example = "Max")]
    pub(crate) name: String,
    /// Age in years.
    #[schema(example = 25, minimum = 0, maximum = 150)]
    pub(crate) age: i32,
}

/// An error as clients see it.
#[derive(Debug, Serialize, ToSchema)]
struct Problem {
    /// One sentence.
    error: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Students", description = "A REST API for students, kept in PostgreSQL."),
    paths(list, read, create, remove),
    components(schemas(Student, NewStudent, Problem))
)]
struct Description;

/// The whole application.
pub(crate) fn router(database: Database) -> Router {
    let metrics = Metrics::new();
    let api = Router::new()
        .route("/api/student", get(list).post(create))
        .route("/api/student/{id}", get(read).delete(remove))
        .route("/readyz", get(ready))
        .with_state(database)
        .route_layer(middleware::from_fn_with_state(metrics.clone(), metrics::observe));
    Router::new()
        .route("/metrics", get(metrics::expose).with_state(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .merge(SwaggerUi::new("/swagger").url("/openapi.json", Description::openapi()))
        .merge(api)
}

/// All students, in the order in which they were created.
#[utoipa::path(get, path = "/api/student", responses((status = 200, body = [Student]), (status = 503, body = Problem)))]
async fn list(State(database): State<Database>) -> Result<Json<Vec<Student>>, Failure> {
    Ok(Json(database.list().await?))
}

/// One student.
#[utoipa::path(get, path = "/api/student/{id}", params(("id" = i64, Path)),
    responses((status = 200, body = Student), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn read(
    State(database): State<Database>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Student>, Failure> {
    let id = student_id(id)?;
    database.get(id).await?.map(Json).ok_or_else(|| Failure::unknown(id))
}

/// Creates a student.
#[utoipa::path(post, path = "/api/student", request_body = NewStudent,
    responses((status = 201, body = Student, headers(("Location" = String))), (status = 400, body = Problem), (status = 503, body = Problem)))]
async fn create(
    State(database): State<Database>,
    body: Result<Json<NewStudent>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(mut new) = body.map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
    new.name = new.name.trim().to_owned();
    if new.name.is_empty() || new.name.chars().count() > 200 || new.name.contains('\0') {
        return Err(Failure::bad_request("name must have 1 to 200 characters"));
    }
    if !(0..=150).contains(&new.age) {
        return Err(Failure::bad_request("age must be from 0 to 150"));
    }
    let student = database.create(&new).await?;
    let location = format!("/api/student/{}", student.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(student)).into_response())
}

/// Removes a student.
#[utoipa::path(delete, path = "/api/student/{id}", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn remove(State(database): State<Database>, id: Result<Path<i64>, PathRejection>) -> Result<StatusCode, Failure> {
    let id = student_id(id)?;
    if database.delete(id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Failure::unknown(id)) }
}

async fn ready(State(database): State<Database>) -> Result<&'static str, Failure> {
    database.ping().await?;
    Ok("ok")
}

fn student_id(id: Result<Path<i64>, PathRejection>) -> Result<i64, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::bad_request("the student's id must be a whole number"))
}

/// A response that is not the wanted one.
struct Failure(StatusCode, String);

impl Failure {
    fn unknown(id: i64) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no student {id}"))
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<DatabaseError> for Failure {
    /// The cause goes to the log, not to the client.
    fn from(error: DatabaseError) -> Self {
        tracing::error!(error = %full(&error), "database");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the database is not available, try again".to_owned())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(Problem { error: self.1 })).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
