// The peer that tools/bench/run measures beside the function: Delete Resource of docs/contract.md, as it is
// written with Node's usual libraries. README.md says what the peer leaves out.

import { createServer } from "node:http";
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { createRemoteJWKSet, errors, jwksCache, jwtVerify } from "jose";

const {
  INTEGRATION_ID,
  TABLE_NAME = "teardown",
  IDEMPOTENCY_TABLE_NAME = `${TABLE_NAME}-idempotency`,
  OIDC_ISSUER = "https://marketplace.vercel.com",
  OIDC_JWKS_URL = "https://marketplace.vercel.com/.well-known/jwks",
  OIDC_JWKS,
  VERCEL_DEV_PORT = "3000",
} = process.env;
const OUTCOME_SECONDS = 7 * 24 * 3600;
const PATIENCE_MILLISECONDS = 8000;
// The limit allows one connection to DynamoDB for each request that runs. With the SDK's own limit of 50
// connections, requests would wait for each other.
const AGENT = { keepAlive: true, maxSockets: 1024 };

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** What jose's errors say where the keys could not be had; others are of the token. */
const FETCH_ERRORS = ["ERR_JWKS_TIMEOUT", "ERR_JOSE_GENERIC"];

const keys = createRemoteJWKSet(new URL(OIDC_JWKS_URL), {
  [jwksCache]: OIDC_JWKS && { jwks: JSON.parse(OIDC_JWKS), uat: Date.now() },
});
const verification = {
  algorithms: ["RS256"],
  issuer: OIDC_ISSUER,
  audience: INTEGRATION_ID,
  requiredClaims: ["exp", "account_id", "installation_id"],
  clockTolerance: 60,
};

async function authenticate(authorization = "") {
  const [scheme, token] = authorization.split(" ");
  if (scheme !== "Bearer" || !token) throw new Refusal(403, "invalid_token", "no bearer token");
  try {
    return (await jwtVerify(token, keys, verification)).payload;
  } catch (error) {
    const isFetch = !(error instanceof errors.JOSEError) || FETCH_ERRORS.includes(error.code);
    throw isFetch
      ? new Refusal(503, "keys_unavailable", "the issuer's keys cannot be fetched")
      : new Refusal(403, "invalid_token", "the token is not valid");
  }
}

function authorize(claims, installation) {
  if (claims.user_id && claims.user_role !== "ADMIN") {
    throw new Refusal(403, "forbidden", "the role is read-only");
  }
  if (claims.installation_id !== installation) {
    throw new Refusal(403, "forbidden", "the token stands for another installation");
  }
}

const dynamodb = new DynamoDBClient({
  requestHandler: { httpAgent: AGENT, httpsAgent: AGENT },
});
const documents = DynamoDBDocumentClient.from(dynamodb);

async function deleteResource({ installation, resource }) {
  try {
    await documents.send(
      new DeleteCommand({
        TableName: TABLE_NAME,
        Key: { pk: `installation#${installation}`, sk: `resource#${resource}` },
        ConditionExpression: "attribute_not_exists(pk) OR #status <> :provisioning",
        ExpressionAttributeNames: { "#status": "status" },
        ExpressionAttributeValues: { ":provisioning": "provisioning" },
      }),
    );
  } catch (error) {
    if (error.name !== "ConditionalCheckFailedException") throw error;
    throw new Refusal(409, "resource_busy", "the resource is still being provisioned");
  }
  return { status: 204 };
}

// If the payload has no key, Powertools calls the function without idempotency.
const config = new IdempotencyConfig({
  eventKeyJmesPath: "key",
  payloadValidationJmesPath: "resource",
  expiresAfterSeconds: OUTCOME_SECONDS,
});
config.registerLambdaContext({ getRemainingTimeInMillis: () => PATIENCE_MILLISECONDS });
const deleteOnce = makeIdempotent(deleteResource, {
  config,
  keyPrefix: "delete-resource",
  persistenceStore: new DynamoDBPersistenceLayer({
    tableName: IDEMPOTENCY_TABLE_NAME,
    awsSdkV3Client: dynamodb,
  }),
});

const ROUTE = /^\/v1\/installations\/([\w.:~-]{1,255})\/resources\/([\w.:~-]{1,255})$/;

async function answer(request) {
  const [, installation, resource] = ROUTE.exec(request.url.split("?", 1)[0]) ?? [];
  if (!installation) throw new Refusal(404, "not_found", "no endpoint is at this path");
  if (request.method !== "DELETE") throw new Refusal(405, "method_not_allowed", "it takes DELETE");
  authorize(await authenticate(request.headers.authorization), installation);
  const sent = request.headers["idempotency-key"];
  const key = sent && `${installation}#${sent}`;
  try {
    return await deleteOnce({ installation, resource, key });
  } catch (error) {
    // Powertools wraps DynamoDB's errors about the Powertools table, and passes on the errors that the
    // function throws.
    switch (error.name) {
      case "IdempotencyAlreadyInProgressError":
        throw new Refusal(409, "request_in_progress", "another request is at it");
      case "IdempotencyValidationError":
        throw new Refusal(409, "idempotency_key_reused", "the key has stood for another request");
      default:
        throw error;
    }
  }
}

const server = createServer(async (request, response) => {
  try {
    const { status } = await answer(request);
    response.writeHead(status).end();
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    const { status, code, message } =
      error instanceof Refusal ? error : new Refusal(500, "internal_error", "a fault of ours");
    const body = JSON.stringify({ error: { code, message } });
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    response.writeHead(status, headers).end(body);
  }
});
server.listen(Number(VERCEL_DEV_PORT), "127.0.0.1");
