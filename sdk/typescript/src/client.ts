/**
 * A thin client of Longshore for browsers and Node (18 and later), on `fetch` alone.
 *
 * The shapes are in `api.ts`, which is generated from the server's own description (`make clients`); this file adds the calls that
 * most callers make, and no opinion. It never submits twice by itself and follows no redirect, which would carry the key along.
 */
import type { components } from "./api";

type Schemas = components["schemas"];
export type JobView = Schemas["JobView"];
export type Event = Schemas["Event"];
export type FileView = Schemas["FileView"];
export type Problem = Schemas["Problem"];
export type SubmitRequest = Schemas["SubmitRequest"];
export type SubmitOptions = Omit<SubmitRequest, "kind" | "payload"> & { idempotencyKey?: string };

const ENDED: readonly string[] = ["completed", "failed", "canceled"];

/** The server said no; `problem` says why, field by field (RFC 9457). */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly problem?: Problem,
  ) {
    super(problem?.detail ?? `status ${status}`);
  }
}

/** One Longshore, at `baseUrl`. */
export class Client {
  constructor(
    private readonly baseUrl: string,
    private readonly apiKey?: string,
  ) {}

  /** Submits a job. With a key a repeat is harmless, so choose one to repeat a submit whose answer was lost. */
  async submit(kind: string, payload: unknown, options: SubmitOptions = {}): Promise<JobView> {
    const { idempotencyKey, ...rest } = options;
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (idempotencyKey) headers["idempotency-key"] = idempotencyKey;
    const body = JSON.stringify({ kind, payload, ...rest });
    return (await this.call("/v1/jobs", { method: "POST", headers, body })).json();
  }

  /** Where a job stands; `wait` seconds later at most, if it has not ended by then. */
  async job(id: string, wait = 0): Promise<JobView> {
    return (await this.call(`/v1/jobs/${id}?wait=${wait}`)).json();
  }

  /** A job's end, however long it takes. */
  async wait(id: string): Promise<JobView> {
    for (;;) {
      const view = await this.job(id, 30);
      if (ENDED.includes(view.state)) return view;
    }
  }

  /** Asks for a job's cancellation. */
  async cancel(id: string): Promise<JobView> {
    return (await this.call(`/v1/jobs/${id}/cancel`, { method: "POST" })).json();
  }

  /** Uploads an input; a payload names it as `{ file: id }`. */
  async upload(name: string, content: string | Blob): Promise<FileView> {
    const headers = { "content-type": "application/octet-stream" };
    const path = `/v1/files?name=${encodeURIComponent(name)}`;
    return (await this.call(path, { method: "POST", headers, body: content })).json();
  }

  /** All that happens to a job, to its end; `after` is the id of the last event that is known. */
  async *events(id: string, after?: string): AsyncGenerator<Event> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (after) headers["last-event-id"] = after;
    const answer = await this.call(`/v1/jobs/${id}/events`, { headers });
    if (!answer.body) return;
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
      }
    }
  }

  private async call(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.apiKey) headers.set("authorization", `Bearer ${this.apiKey}`);
    const answer = await fetch(this.baseUrl.replace(/\/+$/, "") + path, { ...init, headers, redirect: "error" });
    if (answer.ok) return answer;
    const ours = answer.headers.get("content-type")?.startsWith("application/problem+json");
    throw new Refused(answer.status, ours ? await answer.json() : undefined);
  }
}
