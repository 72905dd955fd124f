'use strict';
/*
 * A stand-in for Google Cloud KMS on this machine, true to Google's own definitions (gcp_kms.js), with what gives access
 * tokens beside it (gcp_tokens.js), and faults as a test wants them.
 *
 *     node gcp_server.js [--cert FILE --key FILE]
 *
 * It prints one line, {"port":..., "control":...}, and ends with its standard input.  The control port takes
 * {"do": NAME, ...} as POST bodies, and is for the test alone: what may be done is at the end of this file.
 */
const fs = require('fs');
const http = require('http');
const https = require('https');
const {OAuthRefusal, Refusal, grant, state} = require('./gcp_state.js');
const {attest} = require('./gcp_attest.js');
const {addVersion, keyOf, onKms, versionOf} = require('./gcp_kms.js');
const {onOther} = require('./gcp_tokens.js');

/* ---- faults ---- */

/* The first that is meant for this call, and counts down. */
function faultFor(call) {
  const fault = state.faults.find((one) => one.call === call || one.call === '*');
  if (fault && fault.times !== undefined && --fault.times <= 0) {
    state.faults.splice(state.faults.indexOf(fault), 1);
  }
  return fault || {};
}

/* What a fault does to the object that is answered. */
function spoil(object, fault) {
  for (const [name, value] of Object.entries(fault.set || {})) {
    object[name] = value;
  }
  for (const name of fault.drop || []) {
    delete object[name];
  }
  if (fault.flip) {
    const bytes = Buffer.from(object[fault.flip], 'base64');
    bytes[bytes.length - 1] ^= 1;
    object[fault.flip] = bytes.toString('base64');
  }
  return object;
}

async function send(response, code, headers, text, fault) {
  if (fault.hang) {
    return;
  }
  if (fault.wait) {
    await new Promise((resolve) => setTimeout(resolve, fault.wait));
  }
  if (fault.reset) {
    response.destroy();
    return;
  }
  const body = fault.text !== undefined ? fault.text
    : fault.pad ? text.replace(/^\{/, '{"' + 'x'.repeat(fault.pad) + '":1,') : text;
  response.writeHead(fault.status || code, {'Content-Type': 'application/json; charset=UTF-8',
    Date: new Date(Date.now() + state.skew * 1000).toUTCString(),
    ...headers, ...fault.headers, 'Content-Length': Buffer.byteLength(body)});
  if (fault.cut !== undefined) {
    response.write(body.slice(0, fault.cut));
    setTimeout(() => response.destroy(), 20);
    return;
  }
  response.end(body);
}

/* ---- the front ---- */

async function textOf(request) {
  const pieces = [];
  for await (const piece of request) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

async function onRequest(request, response) {
  const text = await textOf(request);
  const url = new URL(request.url, 'http://localhost');
  const other = onOther(url, request, text);
  const {call, run, headers} = other || onKms(url, request, text);
  const fault = faultFor(call);
  state.seen.push({call, path: url.pathname, body: text});
  try {
    if (fault.refuse) {
      throw new Refusal(fault.refuse, fault.message || 'as told');
    }
    if (fault.oauth) {
      throw new OAuthRefusal(fault.code || 400, fault.oauth, fault.echo ? 'you sent ' + text : 'as told');
    }
    const answer = run(fault);
    await send(response, 200, headers, typeof answer === 'string' ? answer
      : JSON.stringify(spoil(answer, fault), null, 2), fault);
  } catch (error) {
    if (!error.body) {
      process.stderr.write(error.stack + '\n');
      await send(response, 500, headers, JSON.stringify({error: {code: 500, message: String(error), status: 'INTERNAL'}}), {});
      return;
    }
    await send(response, error.code, headers, error.body, fault);
  }
}

/* ---- control ---- */

const control = {
  key({name, purpose = 'ENCRYPT_DECRYPT', level = 'HSM', algorithm = 'GOOGLE_SYMMETRIC_ENCRYPTION', versions = 1, page = 100}) {
    const key = {name, purpose, level, algorithm, primary: 1, page, versions: []};
    state.keys.set(name, key);
    for (let i = 0; i < versions; i++) {
      addVersion(key);
    }
  },
  version({key, set = {}}) {
    return addVersion(keyOf(key), set).name;
  },
  set({version, set}) {
    Object.assign(versionOf(version), set);
  },
  hsm(hsm) {
    state.hsm = {key: hsm.key, certChains: hsm.certChains};
  },
  attest({version, about}) {
    versionOf(version).attestation = attest(versionOf(version), about);
  },
  primary({key, number}) {
    keyOf(key).primary = number;
  },
  account({email, id, key}) {
    state.accounts.set(email, {keys: {[id]: key}});
  },
  allow({principal, permissions}) {
    if (permissions === null) {
      state.allowed.delete(principal);
    } else {
      state.allowed.set(principal, new Set(permissions));
    }
  },
  subject({audience, token, principal}) {
    state.audience = audience;
    state.subjects.set(token, principal);
  },
  life({seconds}) {
    state.life = seconds;
  },
  skew({seconds}) {
    state.skew = seconds;
  },
  token({principal, life}) {
    return grant(principal, life);
  },
  revoke() {
    state.tokens.clear();
  },
  faults({faults}) {
    state.faults = faults;
  },
  seen() {
    const seen = state.seen;
    state.seen = [];
    return seen;
  },
  secrets() {
    return state.granted;
  },
};

async function onControl(request, response) {
  const message = JSON.parse(await textOf(request));
  let answer;
  try {
    answer = {result: control[message.do](message)};
  } catch (error) {
    answer = {error: String(error.stack)};
  }
  response.end(JSON.stringify(answer));
}

function argument(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? null : fs.readFileSync(process.argv[at + 1]);
}

const cert = argument('--cert');
const front = cert ? https.createServer({cert, key: argument('--key')}, onRequest)
  : http.createServer(onRequest);
const side = http.createServer(onControl);
front.listen(0, '127.0.0.1', () => side.listen(0, '127.0.0.1', () => {
  process.stdout.write(JSON.stringify({port: front.address().port, control: side.address().port}) + '\n');
}));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
