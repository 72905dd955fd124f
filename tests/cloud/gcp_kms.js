'use strict';
/*
 * Cloud KMS itself: keys, versions and calls. Paths, verbs, fields and enums come from the .proto of the client library
 * @google-cloud/kms: what those do not know is refused, as Google refuses it. Keys are real AES-256-GCM.
 */
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {Refusal, state} = require('./gcp_state.js');
const {attest} = require('./gcp_attest.js');
const {principalOf} = require('./gcp_tokens.js');
const protobuf = require(require.resolve('protobufjs', {
  paths: [path.dirname(require.resolve('google-gax', {paths: [require.resolve('@google-cloud/kms')]}))],
}));
const serializer = require('proto3-json-serializer');

const KMS = path.dirname(require.resolve('@google-cloud/kms/package.json'));
const ROOT = protobuf.Root.fromJSON(
  JSON.parse(fs.readFileSync(path.join(KMS, 'build/protos/protos.json'), 'utf8')));
const SERVICE = ROOT.lookupService('google.cloud.kms.v1.KeyManagementService');
const VERSION = ROOT.lookupType('google.cloud.kms.v1.CryptoKeyVersion');

function crc32c(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      sum = (sum >>> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
    }
  }
  return (~sum) >>> 0;
}

function keyOf(name) {
  const key = state.keys.get(name);
  if (!key) {
    throw new Refusal('NOT_FOUND', `CryptoKey ${name} not found.`);
  }
  return key;
}

function versionOf(name) {
  const [keyName, number] = name.split('/cryptoKeyVersions/');
  const version = keyOf(keyName).versions[Number(number) - 1];
  if (!version) {
    throw new Refusal('NOT_FOUND', `CryptoKeyVersion ${name} not found.`);
  }
  return version;
}

function addVersion(key, about = {}) {
  const name = `${key.name}/cryptoKeyVersions/${key.versions.length + 1}`;
  const version = {
    name,
    state: 'ENABLED',
    protectionLevel: key.level,
    algorithm: key.algorithm,
    createTime: new Date().toISOString(),
    secret: crypto.randomBytes(32),
    ...about,
  };
  if (state.hsm && version.protectionLevel.startsWith('HSM')) {
    version.attestation = attest(version);
  }
  key.versions.push(version);
  return version;
}

/* As CryptoKeyVersion has it; the secret stays here. A list has no statement, unless it is asked for. */
function shown(version, full = true) {
  const {secret, ...rest} = version;
  if (!full) {
    delete rest.attestation;
  }
  return VERSION.fromObject(serializer.fromProto3JSON(VERSION, rest));
}

/* ---- checks that Google makes ---- */

const bytesOf = (value) => Buffer.from(value || []);

function checkCrc(request, field) {
  const crc = request[`${field}Crc32c`];
  if (crc === null || crc === undefined) {
    return false;
  }
  if (Number(crc.value) !== crc32c(bytesOf(request[field]))) {
    const name = field.replace(/[A-Z]/g, (letter) => '_' + letter.toLowerCase());
    throw new Refusal('INVALID_ARGUMENT',
      `The checksum in field ${name}_crc32c did not match the data in field ${name}.`);
  }
  return true;
}

function checkSizes(level, plaintext, aad) {
  const hsm = level.startsWith('HSM');
  if (hsm && plaintext.length + aad.length > 8192) {
    throw new Refusal('INVALID_ARGUMENT',
      'The combined length of plaintext and additional_authenticated_data must be no larger than 8KiB.');
  }
  if (plaintext.length > 65536 || aad.length > 65536) {
    throw new Refusal('INVALID_ARGUMENT', 'plaintext must be no larger than 64KiB.');
  }
}

function checkEnabled(version) {
  if (version.state !== 'ENABLED') {
    throw new Refusal('FAILED_PRECONDITION',
      `${version.name} is not enabled, current state is: ${version.state}.`,
      [{'@type': 'type.googleapis.com/google.rpc.PreconditionFailure',
        violations: [{type: `KEY_${version.state}`, subject: version.name}]}]);
  }
}

function checkPurpose(key) {
  if (key.purpose !== 'ENCRYPT_DECRYPT') {
    throw new Refusal('FAILED_PRECONDITION',
      `The purpose of ${key.name} is ${key.purpose}, which does not support this operation.`);
  }
}

/* A token's first field, then the number of the version, then IV, ciphertext and tag. */
const MAGIC = Buffer.from('0a24', 'hex');

function seal(version, plaintext, aad) {
  const number = Buffer.alloc(36);
  number.writeUInt32BE(Number(version.name.split('/').pop()), 32);
  crypto.createHash('sha256').update(version.secret).update(version.name).digest().copy(number, 0, 0, 32);
  const iv = crypto.randomBytes(12);
  const cipher = crypto.createCipheriv('aes-256-gcm', version.secret, iv);
  cipher.setAAD(Buffer.concat([number, aad]));
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([MAGIC, number, iv, sealed, cipher.getAuthTag()]);
}

function open(key, blob, aad, ignoreAad) {
  const failed = () => new Refusal('INVALID_ARGUMENT',
    "Decryption failed: verify that 'name' refers to the correct CryptoKey.");
  if (blob.length < 66 || !blob.subarray(0, 2).equals(MAGIC)) {
    throw failed();
  }
  const number = blob.subarray(2, 38);
  const version = key.versions[number.readUInt32BE(32) - 1];
  if (!version) {
    throw failed();
  }
  checkEnabled(version);
  const decipher = crypto.createDecipheriv('aes-256-gcm', version.secret, blob.subarray(38, 50));
  decipher.setAAD(Buffer.concat([number, aad]));
  decipher.setAuthTag(blob.subarray(-16));
  if (ignoreAad) {
    return {version, plaintext: decipher.update(blob.subarray(50, -16))};
  }
  try {
    const plaintext = Buffer.concat([decipher.update(blob.subarray(50, -16)), decipher.final()]);
    return {version, plaintext};
  } catch (error) {
    throw failed();
  }
}

/* ---- the calls ---- */

const PERMISSION = {
  encrypt: 'cryptoKeyVersions.useToEncrypt', decrypt: 'cryptoKeyVersions.useToDecrypt',
  getCryptoKey: 'cryptoKeys.get', listCryptoKeyVersions: 'cryptoKeyVersions.list',
  getCryptoKeyVersion: 'cryptoKeyVersions.get', createCryptoKeyVersion: 'cryptoKeyVersions.create',
  updateCryptoKeyVersion: 'cryptoKeyVersions.update',
  destroyCryptoKeyVersion: 'cryptoKeyVersions.destroy',
  restoreCryptoKeyVersion: 'cryptoKeyVersions.restore',
  updateCryptoKeyPrimaryVersion: 'cryptoKeys.update',
};

const calls = {
  encrypt(request) {
    const onVersion = request.name.includes('/cryptoKeyVersions/');
    const key = keyOf(request.name.split('/cryptoKeyVersions/')[0]);
    checkPurpose(key);
    const version = onVersion ? versionOf(request.name) : key.versions[key.primary - 1];
    const plaintext = bytesOf(request.plaintext);
    const aad = bytesOf(request.additionalAuthenticatedData);
    const verified = checkCrc(request, 'plaintext');
    const verifiedAad = checkCrc(request, 'additionalAuthenticatedData');
    checkSizes(version.protectionLevel, plaintext, aad);
    checkEnabled(version);
    const ciphertext = seal(version, plaintext, aad);
    return {
      name: version.name, ciphertext, ciphertextCrc32c: {value: String(crc32c(ciphertext))},
      verifiedPlaintextCrc32c: verified, verifiedAdditionalAuthenticatedDataCrc32c: verifiedAad,
      protectionLevel: version.protectionLevel,
    };
  },

  decrypt(request, {ignoreAad = false}) {
    const key = keyOf(request.name);
    checkPurpose(key);
    checkCrc(request, 'ciphertext');
    checkCrc(request, 'additionalAuthenticatedData');
    const {version, plaintext} = open(key, bytesOf(request.ciphertext),
      bytesOf(request.additionalAuthenticatedData), ignoreAad);
    return {
      plaintext, plaintextCrc32c: {value: String(crc32c(plaintext))},
      usedPrimary: version === key.versions[key.primary - 1],
      protectionLevel: version.protectionLevel,
    };
  },

  getCryptoKey(request) {
    const key = keyOf(request.name);
    return {name: key.name, purpose: key.purpose, primary: shown(key.versions[key.primary - 1]),
      versionTemplate: {protectionLevel: key.level, algorithm: key.algorithm}};
  },

  listCryptoKeyVersions(request) {
    const key = keyOf(request.parent);
    const size = Math.min(request.pageSize || 100, key.page);
    const from = request.pageToken ? Number(Buffer.from(request.pageToken, 'base64')) : 0;
    if (Number.isNaN(from)) {
      throw new Refusal('INVALID_ARGUMENT', 'The page token is invalid.');
    }
    const more = from + size < key.versions.length;
    return {
      cryptoKeyVersions: key.versions.slice(from, from + size)
        .map((version) => shown(version, ['FULL', 1].includes(request.view))),
      nextPageToken: more ? Buffer.from(String(from + size)).toString('base64') : '',
      totalSize: key.versions.length,
    };
  },

  getCryptoKeyVersion: (request) => shown(versionOf(request.name)),

  createCryptoKeyVersion(request) {
    const key = keyOf(request.parent);
    const version = addVersion(key, key.level === 'HSM' ? {state: 'PENDING_GENERATION'} : {});
    setTimeout(() => {
      version.state = version.state === 'PENDING_GENERATION' ? 'ENABLED' : version.state;
    }, 100);
    return shown(version);
  },

  updateCryptoKeyVersion(request) {
    const version = versionOf(request.cryptoKeyVersion.name);
    const wanted = request.cryptoKeyVersion.state;
    if ((request.updateMask || {paths: []}).paths.join() !== 'state' ||
        !['ENABLED', 'DISABLED'].includes(wanted)) {
      throw new Refusal('INVALID_ARGUMENT', 'update_mask: expected state, ENABLED or DISABLED.');
    }
    if (!['ENABLED', 'DISABLED'].includes(version.state)) {
      throw new Refusal('FAILED_PRECONDITION', `${version.name} is ${version.state}.`);
    }
    version.state = wanted;
    return shown(version);
  },

  destroyCryptoKeyVersion(request) {
    const version = versionOf(request.name);
    if (!['ENABLED', 'DISABLED'].includes(version.state)) {
      throw new Refusal('FAILED_PRECONDITION', `${version.name} is ${version.state}.`);
    }
    version.state = 'DESTROY_SCHEDULED';
    version.destroyTime = new Date(Date.now() + 30 * 86400 * 1000).toISOString();
    return shown(version);
  },

  restoreCryptoKeyVersion(request) {
    const version = versionOf(request.name);
    if (version.state !== 'DESTROY_SCHEDULED') {
      throw new Refusal('FAILED_PRECONDITION', `${version.name} is ${version.state}.`);
    }
    version.state = 'DISABLED';
    delete version.destroyTime;
    return shown(version);
  },
};

/* ---- routes, by the definitions ---- */

/* "/v1/{name=projects/{*}/...}:encrypt" as a pattern, and the field that it fills. */
function patternOf(template) {
  let field = null;
  const text = template.replace(/[.+?^$()|[\]\\]/g, '\\$&')
    .replace(/\{([a-z_.\\]+)=([^}]*)\}/, (whole, name, inner) => {
      field = name.replace(/\\/g, '');
      return '(' + inner.replace(/\*\*/g, '.+').replace(/(?<!\.)\*/g, '[^/]+') + ')';
    });
  return {pattern: new RegExp(`^${text}$`), field};
}

const camel = (name) => name.replace(/_([a-z])/g, (whole, letter) => letter.toUpperCase());

const routes = [];
for (const method of SERVICE.methodsArray) {
  const name = method.name[0].toLowerCase() + method.name.slice(1);
  if (!calls[name]) {
    continue;
  }
  method.resolve();
  const rule = (method.parsedOptions || []).map((option) => option['(google.api.http)'])
    .find((option) => option);
  const verb = ['get', 'post', 'patch', 'delete'].find((one) => rule[one]);
  routes.push({name, verb: verb.toUpperCase(), ...patternOf(rule[verb]), body: rule.body,
    request: method.resolvedRequestType, response: method.resolvedResponseType});
}

/* Google's front end refuses what a message does not have; the serializer would pass over it. */
function checkKnown(type, value, where) {
  for (const [name, member] of Object.entries(value)) {
    const field = type.fields[name] || type.fields[camel(name)];
    if (!field) {
      throw new Refusal('INVALID_ARGUMENT',
        `Invalid JSON payload received. Unknown name "${name}"${where ? ` at '${where}'` : ''}: Cannot find field.`);
    }
    field.resolve();
    const inner = field.resolvedType;
    const plain = inner && inner.fullName && inner.fullName.startsWith('.google.protobuf.');
    if (inner && inner.fields && !plain && member && typeof member === 'object') {
      for (const one of field.repeated ? member : [member]) {
        checkKnown(inner, one, name);
      }
    }
  }
}

function setDeep(object, dotted, value) {
  const parts = dotted.split('.').map(camel);
  const last = parts.pop();
  let at = object;
  for (const part of parts) {
    at = at[part] = at[part] || {};
  }
  at[last] = value;
}

function requestOf(route, match, query, text) {
  let object = {};
  if (text.length > 0) {
    try {
      object = JSON.parse(text);
    } catch (error) {
      throw new Refusal('INVALID_ARGUMENT', 'Invalid JSON payload received. Unexpected token.');
    }
    if (route.body && route.body !== '*') {
      object = {[camel(route.body)]: object};
    }
  }
  for (const [name, value] of query) {
    if (!name.startsWith('$') && name !== 'alt') {
      setDeep(object, name, /^\d+$/.test(value) && name === 'pageSize' ? Number(value) : value);
    }
  }
  setDeep(object, route.field, match[1]);
  checkKnown(route.request, object, '');
  try {
    const message = serializer.fromProto3JSON(route.request, object);
    return route.request.toObject(message, {enums: String, longs: String});
  } catch (error) {
    throw new Refusal('INVALID_ARGUMENT', `Invalid JSON payload received. ${error.message}`);
  }
}

/* ---- a request ---- */

function checkAllowed(principal, call, resource) {
  const allowed = state.allowed.get(principal);
  const permission = `cloudkms.${PERMISSION[call]}`;
  if (allowed && !allowed.has(permission)) {
    throw new Refusal('PERMISSION_DENIED',
      `Permission '${permission}' denied on resource '${resource}' (or it may not exist).`);
  }
}

function onKms(url, request, text) {
  for (const route of routes) {
    const match = route.verb === request.method && route.pattern.exec(decodeURIComponent(url.pathname));
    if (!match) {
      continue;
    }
    return {call: route.name, run(fault) {
      const principal = principalOf(request.headers);
      checkAllowed(principal, route.name, match[1]);
      const message = requestOf(route, match, url.searchParams, text);
      const answer = calls[route.name](message, fault);
      const numeric = /enum-encoding=int/.test(url.searchParams.get('$alt') || '');
      return serializer.toProto3JSON(route.response.fromObject(
        answer), {numericEnums: numeric});
    }};
  }
  return {call: 'none', run() {
    throw new Refusal('NOT_FOUND', `Method not found: ${request.method} ${url.pathname}`);
  }};
}

module.exports = {addVersion, keyOf, onKms, versionOf};
