'use strict';
/* What the stand-in for Google Cloud KMS holds, and how it says no. */
const crypto = require('crypto');

const HTTP_OF = {
  INVALID_ARGUMENT: 400, FAILED_PRECONDITION: 400, UNAUTHENTICATED: 401, PERMISSION_DENIED: 403,
  NOT_FOUND: 404, ABORTED: 409, RESOURCE_EXHAUSTED: 429, INTERNAL: 500, UNIMPLEMENTED: 501,
  UNAVAILABLE: 503, DEADLINE_EXCEEDED: 504,
};

/* google.rpc.Status, as Google's front end has it in JSON. */
class Refusal extends Error {
  constructor(status, message, details) {
    super(message);
    this.status = status;
    this.details = details;
  }

  get code() {
    return HTTP_OF[this.status];
  }

  get body() {
    const error = {code: this.code, message: this.message, status: this.status};
    if (this.details) {
      error.details = this.details;
    }
    return JSON.stringify({error}, null, 2);
  }
}

class OAuthRefusal extends Error {
  constructor(code, error, description) {
    super(description);
    this.code = code;
    this.body = JSON.stringify({error, error_description: description});
  }
}

/* ---- what there is ---- */

const state = {
  keys: new Map(),       // name -> {purpose, level, algorithm, primary, versions: [...]}
  accounts: new Map(),   // e-mail -> {keys: {id: PEM of the public key}}
  granted: [],           // all that ever let somebody in: access tokens, signatures of assertions
  tokens: new Map(),     // access token -> {principal, expires, federated}
  subjects: new Map(),   // subject token -> principal
  allowed: new Map(),    // principal -> Set of permissions; not there: all
  life: 3599,            // seconds of a token
  audience: null,        // of the workload identity pool
  skew: 0,               // seconds that this clock is ahead
  hsm: null,             // {key, certChains}: of the partition that states what its keys are
  faults: [],
  seen: [],              // {call, path, body}: what was asked
};

function grant(principal, life = state.life) {
  const token = 'ya29.c.' + crypto.randomBytes(96).toString('base64url');
  state.granted.push(token);
  state.tokens.set(token, {principal, expires: Date.now() + life * 1000});
  return token;
}

module.exports = {Refusal, OAuthRefusal, state, grant};
