'use strict';
/*
 * The statement that a Cloud HSM makes of a key, as CAVIUM_V2_COMPRESSED has it: laid out as a real one of an AES key
 * is, with the same attributes in the same order, and signed by the partition's key that the test brought (gcp_hsm.py).
 * What is to be wrong with one is said by `about`.
 */
const crypto = require('crypto');
const zlib = require('zlib');
const {state} = require('./gcp_state.js');

const sha256 = (text) => crypto.createHash('sha256').update(text).digest('hex');
const u32 = (number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number >>> 0);
  return bytes;
};

function attributesOf(name, secret) {
  const flags = (types) => types.map(([type, value]) => [type, Buffer.from([value])]);
  const label = Buffer.alloc(128);
  label.write('app_key');
  return [
    ...flags([[0x0, 4], [0x100, 0x1f], [0x1, 2], [0x2, 1], [0x104, 1], [0x105, 1], [0x106, 1], [0x107, 1],
      [0x108, 1], [0x10a, 1], [0x163, 1], [0x103, 1], [0x162, 0]]),
    [0x3, label],
    [0x102, Buffer.from(sha256(name.split('/cryptoKeyVersions/')[0]) + sha256(name))],
    [0x161, u32(32)],
    [0x173, crypto.createHash('sha1').update(secret).digest().subarray(0, 3)],
    [0x1003, crypto.createHash('sha256').update(secret).digest()],
    [0x1000, Buffer.from('0000000000000002', 'hex')],
    ...[0x174, 0x175, 0x176, 0x177, 0x178, 0x179, 0x180].map((type) => [0x80000000 + type, Buffer.alloc(32, 0)]),
    ...flags([[0x86, 0], [0x210, 0], [0x10c, 0], [0x165, 1], [0x80000002, 0], [0x80000003, 0], [0x164, 1]]),
  ];
}

/* about: name, set {type: hex}, drop [type], twice, second, total, code, version, more: bytes behind the attributes. */
function plainOf(version, about) {
  const attributes = attributesOf(about.name || version.name, version.secret)
    .filter(([type]) => !(about.drop || []).includes(type))
    .map(([type, value]) => [type, type in (about.set || {}) ? Buffer.from(about.set[type], 'hex') : value]);
  if (about.twice) {
    attributes.push(attributes[0]);
  }
  const list = Buffer.concat([...attributes.map(([type, value]) => Buffer.concat([u32(type), u32(value.length), value])),
    Buffer.from(about.more || '', 'hex')]);
  const info = Buffer.from('0001000300080000', 'hex');
  info.writeUInt16BE(about.version || 1, 0);
  info.writeUInt16BE(about.second || 0, 6);
  const body = Buffer.concat([info, u32(2422), u32(attributes.length), u32(list.length), list]);
  const total = 24 + body.length + 256;
  return Buffer.concat([u32(about.code || 0), u32(3), u32(about.total || total), u32(body.length), u32(0), u32(2422), body]);
}

/* about, too: format, flip (the signature), plain or content (bytes instead), gzip (false), tail, chains. */
function attest(version, about = {}) {
  const signed = plainOf(version, about);
  const signature = crypto.sign('RSA-SHA256', signed, state.hsm.key);
  signature[0] ^= about.flip ? 1 : 0;
  const plain = about.zeros ? Buffer.alloc(about.zeros) : Buffer.concat([signed, signature]);
  const packed = about.gzip === false ? plain : zlib.gzipSync(plain);
  const content = about.random ? crypto.randomBytes(about.random)
    : Buffer.concat([packed.subarray(0, packed.length - (about.cut || 0)), Buffer.from(about.tail || '', 'hex')]);
  return {
    format: about.format || 'CAVIUM_V2_COMPRESSED',
    content: content.toString('base64'),
    certChains: {...state.hsm.certChains, ...about.chains},
  };
}

module.exports = {attest};
