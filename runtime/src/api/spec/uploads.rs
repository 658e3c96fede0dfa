//! The calls about files that do not come at once, for [`super::calls`]. The protocol of those in pieces is tus 1.0.0, which a client of
//! it speaks by itself.

use longshore_sdk::api::{DirectRequest, DirectView, FileView, UploadView};

use super::calls::{Call, DOWNLOAD, DOWNLOADED, JSON, Parameter, Told, bare, header, some_bytes, told};
use super::shape;

const BYTES: &str = r#"{"type": "integer", "minimum": 0}"#;
const VERSION: Parameter = Parameter {
    place: "header",
    name: "Tus-Resumable",
    says: "The version of tus that the caller speaks: `1.0.0`. Without it the answer is 412.",
    sort: r#"{"type": "string", "enum": ["1.0.0"]}"#,
    required: true,
};
const OFFSET: (&str, &str) = ("Upload-Offset", "How many bytes are there: where to go on.");
const LENGTH: (&str, &str) = ("Upload-Length", "How many bytes there will be.");
const EXPIRES: (&str, &str) = ("Upload-Expires", "When it is removed if nothing more comes.");
const SPOKEN: (&str, &str) = ("Tus-Resumable", "`1.0.0`.");
const AT: Parameter =
    Parameter { sort: BYTES, required: true, ..header("Upload-Offset", "Behind how many bytes these belong.") };
const SUM: Parameter = header("Upload-Checksum", "`sha256` or `sha1`, a space, and the bytes' checksum in base64.");

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "POST",
        path: "/v1/files/direct",
        id: "sendFileDirectly",
        tag: "files",
        summary: "A link to PUT a file of known size to the bucket itself, past the API; 409 where the storage is a directory.",
        parameters: &[],
        body: Some((JSON, shape::<DirectRequest>)),
        answers: &[told(201, "Where to send it, and what to call when it is there.", shape::<DirectView>)],
        refusals: &[400, 408, 409, 413, 415, 422],
    },
    Call {
        method: "POST",
        path: "/v1/files/{id}/complete",
        id: "completeFile",
        tag: "files",
        summary: "Say that a file was sent to its link: it is measured, hashed, and a file from now on.",
        parameters: &[],
        body: None,
        answers: &[Told {
            headers: &[("Location", "Where the file is described.")],
            ..told(200, "The file.", shape::<FileView>)
        }],
        refusals: &[404, 409],
    },
    Call {
        method: "GET",
        path: "/v1/files/{id}/content",
        id: "downloadFile",
        tag: "files",
        summary: "An uploaded file, whole or in part.",
        parameters: DOWNLOAD,
        body: None,
        answers: DOWNLOADED,
        refusals: &[400, 404, 409, 416],
    },
    Call {
        method: "POST",
        path: "/v1/uploads",
        id: "createUpload",
        tag: "files",
        summary: "Begin a resumable upload (tus 1.0.0, creation). Its bytes are sent to the Location.",
        parameters: &[
            VERSION,
            Parameter {
                sort: r#"{"type": "integer", "minimum": 1}"#,
                required: true,
                ..header("Upload-Length", "The whole size of the file, in bytes.")
            },
            header(
                "Upload-Metadata",
                "Pairs of a key and a value in base64; `filename` and `filetype` are the file's.",
            ),
        ],
        body: None,
        answers: &[Told {
            headers: &[("Location", "Where its bytes are sent."), EXPIRES, SPOKEN],
            ..told(201, "Begun.", shape::<UploadView>)
        }],
        refusals: &[400, 412, 413],
    },
    Call {
        method: "OPTIONS",
        path: "/v1/uploads",
        id: "discoverUploads",
        tag: "files",
        summary: "What is spoken here of tus.",
        parameters: &[],
        body: None,
        answers: &[Told {
            headers: &[
                ("Tus-Version", "The versions."),
                ("Tus-Extension", "The extensions."),
                ("Tus-Max-Size", "The largest upload, in bytes."),
                ("Tus-Checksum-Algorithm", "The checksums."),
            ],
            ..bare(200, "In the headers.")
        }],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/v1/uploads/{id}",
        id: "getUpload",
        tag: "files",
        summary: "Where an upload stands; HEAD, with Tus-Resumable, tells the same in headers alone.",
        parameters: &[],
        body: None,
        answers: &[Told {
            headers: &[OFFSET, LENGTH, EXPIRES, ("Upload-Metadata", "As it was given."), SPOKEN],
            ..told(200, "The upload. Once it is complete, a file has its id.", shape::<UploadView>)
        }],
        refusals: &[404],
    },
    Call {
        method: "PATCH",
        path: "/v1/uploads/{id}",
        id: "appendToUpload",
        tag: "files",
        summary: "The next bytes of an upload. The last ones make it a file of the same id.",
        parameters: &[VERSION, AT, SUM],
        body: Some(("application/offset+octet-stream", some_bytes)),
        answers: &[Told { headers: &[OFFSET, EXPIRES, SPOKEN], ..bare(204, "Kept.") }],
        refusals: &[400, 404, 408, 409, 412, 413, 415, 423, 460],
    },
    Call {
        method: "POST",
        path: "/v1/uploads/{id}",
        id: "standInForUpload",
        tag: "files",
        summary: "PATCH or DELETE, whichever X-HTTP-Method-Override says, for networks that let neither pass.",
        parameters: &[
            Parameter {
                sort: r#"{"type": "string", "enum": ["PATCH", "DELETE"]}"#,
                required: true,
                ..header("X-HTTP-Method-Override", "The method that is meant.")
            },
            VERSION,
            Parameter { required: false, ..AT },
            SUM,
        ],
        body: None,
        answers: &[Told { headers: &[OFFSET, EXPIRES, SPOKEN], ..bare(204, "Done.") }],
        refusals: &[400, 404, 408, 409, 412, 413, 415, 423, 460],
    },
    Call {
        method: "DELETE",
        path: "/v1/uploads/{id}",
        id: "removeUpload",
        tag: "files",
        summary: "Remove an upload and its bytes; once it is a file, unless a job has named that.",
        parameters: &[VERSION],
        body: None,
        answers: &[Told { headers: &[SPOKEN], ..bare(204, "Removed.") }],
        refusals: &[404, 409, 412],
    },
];
