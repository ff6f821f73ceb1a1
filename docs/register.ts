import {
  DynamoDBClient,
  TransactWriteItemsCommand,
  TransactionCanceledException,
} from "@aws-sdk/client-dynamodb";

const TableName = process.env.TABLE_NAME ?? "teardown";
const client = new DynamoDBClient({});

const key = (installationId: string, sk: string) => ({
  pk: { S: `installation#${installationId}` },
  sk: { S: sk },
});
const now = () => ({ N: String(Math.floor(Date.now() / 1000)) });

const active = {
  ConditionExpression: "#state = :active",
  ExpressionAttributeNames: { "#state": "state" },
};

/** Why a resource is not registered: the index of the condition that failed says it. */
const refusals = [
  "the installation is not registered, or was deleted",
  "the resource is registered already",
  "the resource was deleted",
  "the resource was deleted, and that is still to be announced",
];

/** `provisioning` and `pending` cannot be deleted yet; the other words are Vercel's, too. */
type Status =
  | "provisioning"
  | "pending"
  | "ready"
  | "onboarding"
  | "suspended"
  | "resumed"
  | "uninstalled"
  | "error";

export async function registerResource(
  installationId: string,
  resourceId: string,
  status: Status,
) {
  const request = new TransactWriteItemsCommand({
    ClientRequestToken: crypto.randomUUID(),
    TransactItems: [
      {
        Update: {
          TableName,
          Key: key(installationId, "#installation"),
          UpdateExpression: "ADD resources :one",
          ...active,
          ExpressionAttributeValues: { ":one": { N: "1" }, ":active": { S: "active" } },
        },
      },
      {
        Put: {
          TableName,
          Item: {
            ...key(installationId, `resource#${resourceId}`),
            status: { S: status },
            updatedAt: now(),
          },
          ConditionExpression: "attribute_not_exists(pk)",
        },
      },
      {
        ConditionCheck: {
          TableName,
          Key: key(installationId, `receipt#resource#${resourceId}`),
          ConditionExpression: "attribute_not_exists(pk) OR expiresAt <= :now",
          ExpressionAttributeValues: { ":now": now() },
        },
      },
      {
        ConditionCheck: {
          TableName,
          Key: key(installationId, `work#announce#resource#${resourceId}`),
          ConditionExpression: "attribute_not_exists(pk)",
        },
      },
    ],
  });
  for (let wait = 25; ; wait *= 2) {
    try {
      return await client.send(request);
    } catch (error) {
      if (!(error instanceof TransactionCanceledException)) throw error;
      const failed = (error.CancellationReasons ?? []).findIndex(
        (reason) => reason.Code === "ConditionalCheckFailed",
      );
      if (failed >= 0) throw new Error(refusals[failed]);
      if (wait > 2000) throw error;
      // A conflict or throttling: the same request again, with the same token.
      await new Promise((done) => setTimeout(done, wait * Math.random()));
    }
  }
}
