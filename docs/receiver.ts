import { Webhook } from "standardwebhooks";

interface Deleted {
  type: "resource.deleted" | "installation.deleted";
  timestamp: string;
  data: {
    installationId: string;
    resourceId?: string;
    deletedAt: string;
    reason?: string;
    by: { kind: "user" | "system"; accountId: string; userId?: string; role?: "ADMIN" };
  };
}

/**
 * Yours: starts one job per id, however often it is called, and says whether it is done. If it
 * throws, the answer is a 500 and the announcement comes again.
 */
declare function tearDownOnce(id: string, event: Deleted): Promise<{ done: boolean }>;

const webhook = new Webhook(process.env.PROVIDER_SECRET!);

export async function POST(request: Request): Promise<Response> {
  const body = await request.text();
  const id = request.headers.get("webhook-id") ?? "";
  let event: Deleted;
  try {
    event = webhook.verify(body, {
      "webhook-id": id,
      "webhook-timestamp": request.headers.get("webhook-timestamp") ?? "",
      "webhook-signature": request.headers.get("webhook-signature") ?? "",
    }) as Deleted;
  } catch {
    return new Response(null, { status: 401 });
  }
  const job = await tearDownOnce(id, event);
  return job.done
    ? new Response(null, { status: 204 })
    : new Response(null, { status: 202, headers: { "retry-after": "60" } });
}
