'use strict';
/*
 * Google's own client, by REST, against gcp_server.js: node peer.js URL KEY TOKEN.
 * Its answers go to standard output, one JSON line a call: {"ok": ...} or {"code": ..., "message": ...}.
 */
const {KeyManagementServiceClient} = require('@google-cloud/kms');
const {OAuth2Client} = require('google-auth-library');

const [url, key, token] = process.argv.slice(2);
const {hostname, port} = new URL(url);
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');

async function main() {
  const authClient = new OAuth2Client();
  authClient.setCredentials({access_token: token});
  const client = new KeyManagementServiceClient({
    fallback: true, protocol: 'http', servicePath: hostname, port: Number(port), authClient,
  });
  const attempt = async (call) => {
    try {
      const [answer] = await call();
      say({ok: answer});
      return answer;
    } catch (error) {
      say({code: error.code, message: error.message});
      return null;
    }
  };
  const once = {retry: null};
  const plaintext = Buffer.from('hello-dek-0123456789abcdef');
  const aad = Buffer.from('aad-bytes');
  const sealed = await attempt(() => client.encrypt({
    name: `${key}/cryptoKeyVersions/1`, plaintext, plaintextCrc32c: {value: 1616519357},
    additionalAuthenticatedData: aad, additionalAuthenticatedDataCrc32c: {value: 3843394073}}, once));
  const open = (more) => attempt(() => client.decrypt(
    {name: key, ciphertext: sealed.ciphertext, additionalAuthenticatedData: aad, ...more}, once));
  await open({});
  await open({additionalAuthenticatedData: Buffer.from('other')});
  await open({ciphertextCrc32c: {value: 1}});
  await attempt(() => client.encrypt({name: key, plaintext: Buffer.alloc(8193)}, once));
  await attempt(() => client.encrypt({name: `${key}/cryptoKeyVersions/9`, plaintext}, once));
  await attempt(async () => [(await client.listCryptoKeyVersions({parent: key}))[0].map((one) => one.state)]);
  await attempt(() => client.updateCryptoKeyVersion({
    cryptoKeyVersion: {name: `${key}/cryptoKeyVersions/1`, state: 'DISABLED'}, updateMask: {paths: ['state']}}, once));
  await open({});
  await attempt(() => client.destroyCryptoKeyVersion({name: `${key}/cryptoKeyVersions/1`}, once));
  await attempt(() => client.getCryptoKeyVersion({name: `${key}/cryptoKeyVersions/1`}, once));
}

main().then(() => process.exit(0));
