'use strict';
/*
 * Who somebody is to the stand-in: the OAuth token endpoint, which verifies the assertion's signature and claims, the
 * Security Token Service, impersonation, and a metadata server.
 */
const crypto = require('crypto');
const {OAuthRefusal, Refusal, grant, state} = require('./gcp_state.js');

/* Of an access token that is good now. */
function principalOf(headers) {
  const match = /^Bearer (.+)$/.exec(headers.authorization || '');
  const token = match && state.tokens.get(match[1]);
  if (!token || token.expires <= Date.now()) {
    throw new Refusal('UNAUTHENTICATED',
      'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid ' +
      'authentication credential.',
      [{'@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'ACCESS_TOKEN_EXPIRED',
        domain: 'googleapis.com'}]);
  }
  return token.principal;
}

/* ---- each way to one ---- */

const SCOPES = ['https://www.googleapis.com/auth/cloudkms', 'https://www.googleapis.com/auth/cloud-platform'];

function checkClaims(claims) {
  const now = Date.now() / 1000 + state.skew;
  if (claims.aud !== 'https://oauth2.googleapis.com/token') {
    throw new OAuthRefusal(400, 'invalid_grant', 'Invalid JWT: Failed audience check.');
  }
  if (!Number.isInteger(claims.iat) || !Number.isInteger(claims.exp) || claims.exp - claims.iat > 3600 ||
      claims.exp <= claims.iat || claims.iat > now + 60 || claims.exp < now) {
    throw new OAuthRefusal(400, 'invalid_grant',
      'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. ' +
      'Check your iat and exp values in the JWT claim.');
  }
  if (!String(claims.scope || '').split(' ').every((scope) => SCOPES.includes(scope))) {
    throw new OAuthRefusal(400, 'invalid_scope', 'Invalid OAuth scope or ID token audience provided.');
  }
}

function tokenOfAssertion(form) {
  const parts = String(form.get('assertion') || '').split('.');
  const json = (part) => JSON.parse(Buffer.from(part || '', 'base64url').toString());
  let header;
  let claims;
  try {
    header = json(parts[0]);
    claims = json(parts[1]);
  } catch (error) {
    throw new OAuthRefusal(400, 'invalid_request', 'Bad Request');
  }
  const account = state.accounts.get(claims.iss);
  if (!account) {
    throw new OAuthRefusal(400, 'invalid_grant', 'Invalid grant: account not found');
  }
  const key = account.keys[header.kid];
  state.granted.push(String(parts[2]));
  if (parts.length !== 3 || header.alg !== 'RS256' || header.typ !== 'JWT' || !key ||
      !crypto.verify('RSA-SHA256', Buffer.from(`${parts[0]}.${parts[1]}`), key,
        Buffer.from(parts[2], 'base64url'))) {
    throw new OAuthRefusal(400, 'invalid_grant', 'Invalid JWT Signature.');
  }
  checkClaims(claims);
  return {access_token: grant(claims.iss), expires_in: state.life, token_type: 'Bearer'};
}

function tokenOfSubject(form) {
  const urn = 'urn:ietf:params:oauth:';
  if (form.get('requested_token_type') !== `${urn}token-type:access_token` ||
      form.get('subject_token_type') !== `${urn}token-type:jwt`) {
    throw new OAuthRefusal(400, 'invalid_request', 'Invalid token type.');
  }
  if (form.get('audience') !== state.audience) {
    throw new OAuthRefusal(400, 'invalid_target', 'The target service indicated by the "audience" parameters is invalid.');
  }
  const principal = state.subjects.get(form.get('subject_token'));
  if (!principal) {
    throw new OAuthRefusal(400, 'invalid_grant', 'ID Token issued at is stale to sign-in.');
  }
  return {access_token: grant(principal), issued_token_type: `${urn}token-type:access_token`,
    token_type: 'Bearer', expires_in: state.life};
}

function onToken(text, exchange) {
  const form = new URLSearchParams(text);
  const wanted = exchange ? 'token-exchange' : 'jwt-bearer';
  if (form.get('grant_type') !== `urn:ietf:params:oauth:grant-type:${wanted}`) {
    throw new OAuthRefusal(400, 'unsupported_grant_type', 'Invalid grant_type');
  }
  return JSON.stringify(exchange ? tokenOfSubject(form) : tokenOfAssertion(form));
}

function onImpersonate(account, headers, text) {
  const principal = principalOf(headers);
  const body = JSON.parse(text);
  if (!Array.isArray(body.scope) || !body.scope.every((scope) => SCOPES.includes(scope))) {
    throw new Refusal('INVALID_ARGUMENT', 'Request contains an invalid argument.');
  }
  const allowed = state.allowed.get(principal);
  if (allowed && !allowed.has('iam.serviceAccounts.getAccessToken')) {
    throw new Refusal('PERMISSION_DENIED', "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).");
  }
  return JSON.stringify({accessToken: grant(account),
    expireTime: new Date(Date.now() + 3600000).toISOString()});
}

function onMetadata(headers) {
  if (headers['metadata-flavor'] !== 'Google') {
    throw new OAuthRefusal(403, 'forbidden', 'Missing Metadata-Flavor:Google header.');
  }
  return JSON.stringify({access_token: grant('metadata'), expires_in: state.life, token_type: 'Bearer'});
}

/* What such a request is for, and how it is answered; null: it is none of these. */
function onOther(url, request, text) {
  const act = /^\/v1\/projects\/-\/serviceAccounts\/([^/:]+):generateAccessToken$/.exec(
    decodeURIComponent(url.pathname));
  if (url.pathname === '/token') {
    return {call: 'token', run: () => onToken(text, false)};
  }
  if (url.pathname === '/v1/token') {
    return {call: 'sts', run: () => onToken(text, true)};
  }
  if (act) {
    return {call: 'impersonate', run: () => onImpersonate(act[1], request.headers, text)};
  }
  if (url.pathname === '/computeMetadata/v1/instance/service-accounts/default/token') {
    return {call: 'metadata', headers: {'Metadata-Flavor': 'Google'},
      run: () => onMetadata(request.headers)};
  }
  return null;
}

module.exports = {onOther, principalOf};
