/** A caller in TypeScript: uploads, submits, follows, waits, and is refused; and is sent elsewhere by whoever is at `mover`. Prints what it was told. */
import { Client, Refused } from "longshore";

declare const process: { argv: string[] };

async function main(url: string, kind: string, payload: string, mover: string): Promise<void> {
  const jobs = new Client(url);
  const file = await jobs.upload("people.csv", "id,email\n1,ada@example.org\n2,bob@example.org\n");
  const wanted = { source: { file: file.id }, ...JSON.parse(payload) };
  const job = await jobs.submit(kind, wanted, { idempotencyKey: "typescript-1" });
  const again = await jobs.submit(kind, wanted, { idempotencyKey: "typescript-1" });
  const told: string[] = [];
  for await (const event of jobs.events(job.id)) {
    if (event.data.event !== "progressed") told.push(event.data.event);
  }
  let refused: unknown = null;
  try {
    await jobs.submit("no.such.kind", {});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused = { status: error.status, pointer: error.problem?.errors?.[0]?.pointer };
  }
  const end = await jobs.wait(job.id);
  const moved = new Client(mover, "a-secret");
  const sentOn: unknown[] = [];
  for (const call of [() => moved.submit("no.such.kind", {}), () => moved.job("x"), () => moved.events("x").next()]) {
    sentOn.push(await call().then(JSON.stringify, () => 302));
  }
  console.log(JSON.stringify({ same: again.id === job.id, told, refused, result: end.result, moved: sentOn }));
}

const [url, kind, payload, mover] = process.argv.slice(2);
main(url, kind, payload, mover);
