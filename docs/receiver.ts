import { Webhook } from "standardwebhooks";

interface Announcement {
  type:
    | "resource.deletion_scheduled"
    | "resource.deleted"
    | "installation.deletion_scheduled"
    | "installation.deleted";
  timestamp: string;
  data: {
    installationId: string;
    resourceId?: string;
    deletedAt: string;
    /** Of a scheduled deletion: when it will be announced as deleted, unless it is stopped. */
    teardownAt?: string;
    /** Of an installation with open invoices: until when the final one can be sent. */
    finalizesAt?: string;
    reason?: string;
    by: { kind: "user" | "system"; accountId: string; userId?: string; role?: "ADMIN" };
  };
}

/** Yours: revokes access and stops billing, and keeps the data. It may be called more than once. */
declare function suspend(resourceId: string): Promise<void>;

/**
 * Yours: destroys the data for good. Starts one job per id, however often it is called, and says
 * whether it is done. If it throws, the answer is a 500 and the announcement comes again.
 */
declare function destroyOnce(id: string, resourceId: string): Promise<{ done: boolean }>;

/** Yours: notes that an installation is deleted, and sends its final invoice. */
declare function closeAccount(event: Announcement): Promise<void>;

// One secret is enough: during a rotation, each announcement is signed by the old and the new one.
const webhook = new Webhook(process.env.PROVIDER_SECRET!);

export async function POST(request: Request): Promise<Response> {
  const body = await request.text();
  const id = request.headers.get("webhook-id") ?? "";
  let event: Announcement;
  try {
    event = webhook.verify(body, {
      "webhook-id": id,
      "webhook-timestamp": request.headers.get("webhook-timestamp") ?? "",
      "webhook-signature": request.headers.get("webhook-signature") ?? "",
    }) as Announcement;
  } catch {
    return new Response(null, { status: 401 });
  }
  const { resourceId } = event.data;
  if (resourceId === undefined) {
    // An installation: nothing is destroyed by it, since some of its resources may be kept.
    await closeAccount(event);
  } else if (event.type === "resource.deletion_scheduled") {
    await suspend(resourceId);
  } else {
    const job = await destroyOnce(id, resourceId);
    if (!job.done) {
      return new Response(null, { status: 202, headers: { "retry-after": "60" } });
    }
  }
  return new Response(null, { status: 204 });
}
