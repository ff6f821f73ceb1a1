import { Webhook } from "standardwebhooks";

interface ResourceDeletion {
  type: "resource.deletion_scheduled" | "resource.deleted";
  timestamp: string;
  data: DeletionData & { resourceId: string };
}

interface InstallationDeletion {
  type: "installation.deletion_scheduled" | "installation.deleted";
  timestamp: string;
  data: DeletionData & {
    /** With open invoices: until when the final one can be sent. */
    finalizesAt?: string;
  };
}

interface DeletionData {
  installationId: string;
  deletedAt: string;
  /** Of a scheduled deletion: when it will be announced as deleted, unless it is stopped. */
  teardownAt?: string;
  reason?: string;
  by: { kind: "user" | "system"; accountId: string; userId?: string; role?: "ADMIN" };
}

/** Nothing is deleted by it: teardown could not do something, and a person has to see to it. */
interface Incident {
  type: "operation.work_parked" | "operation.finalization_late";
  timestamp: string;
  data: { installationId: string; reason: string };
}

type Announcement = ResourceDeletion | InstallationDeletion | Incident;

/** Yours: revokes access and stops billing, and keeps the data. It may be called more than once. */
declare function suspend(resourceId: string): Promise<void>;

/**
 * Yours: destroys the data for good. Starts one job per id, however often it is called, and says
 * whether it is done. If it throws, the answer is a 500 and the announcement comes again.
 */
declare function destroyOnce(id: string, resourceId: string): Promise<{ done: boolean }>;

/** Yours: notes that an installation is deleted, and sends its final invoice. */
declare function closeAccount(event: InstallationDeletion): Promise<void>;

/** Yours: tells the engineer on call. */
declare function alertOperator(event: Incident): Promise<void>;

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
  switch (event.type) {
    case "resource.deletion_scheduled":
      await suspend(event.data.resourceId);
      break;
    case "resource.deleted": {
      const job = await destroyOnce(id, event.data.resourceId);
      if (!job.done) {
        return new Response(null, { status: 202, headers: { "retry-after": "60" } });
      }
      break;
    }
    case "installation.deletion_scheduled":
    case "installation.deleted":
      // Nothing is destroyed by it, since some of its resources may be kept.
      await closeAccount(event);
      break;
    case "operation.work_parked":
    case "operation.finalization_late":
      await alertOperator(event);
      break;
    // A type that is newer than this code: it is taken, and nothing is done.
  }
  return new Response(null, { status: 204 });
}
