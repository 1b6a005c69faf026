// The words about signing in by somebody else's word, in each language: they stand in its table with all others.

/** How somebody came back from there; `linked` is the only good one that is told. */
export const ARRIVALS = [
  'journey',
  'denied',
  'issuer',
  'token',
  'no_account',
  'disabled',
  'invitation',
  'taken',
  'first',
  'failed',
  'linked',
] as const;
export type Arrival = (typeof ARRIVALS)[number];
type Told = { [A in Arrival]: (name: string) => string };

const en: Told = {
  journey: () => 'That sign-in was not begun here, or took too long. Try again.',
  denied: (name) => `${name} was told not to let you in.`,
  issuer: (name) => `${name} does not answer as it should. Try again later.`,
  token: (name) => `What ${name} sent cannot be trusted, so nobody was signed in.`,
  no_account: (name) =>
    `${name} knows you, but you have no account here. Ask an administrator for an invitation.`,
  disabled: () => 'This account is locked. Ask an administrator.',
  invitation: () => 'The invitation was used or withdrawn. Ask for another one.',
  taken: (name) =>
    `That identity at ${name} belongs to another account here, or this account has another one.`,
  first: () => 'The first account is made on the machine itself, under its own address.',
  failed: () => 'The server failed. Try again later.',
  linked: (name) => `From now on you can sign in with ${name}.`,
};

export const issuerEn = {
  signInWith: (name: string) => `Sign in with ${name}`,
  orElse: 'or',
  linkLead: (name: string) => `Then ${name} opens this account as well as your password does.`,
  linkWith: (name: string) => `Link to ${name}`,
  linkedWith: (name: string) => `${name} opens this account.`,
  unlink: 'Unlink',
  arrived: (arrival: Arrival, name: string) => (en[arrival] ?? en.failed)(name),
};

type Table = {
  [K in keyof typeof issuerEn]: (typeof issuerEn)[K] extends string ? string : (typeof issuerEn)[K];
};

const fr: Told = {
  journey: () => 'Cette connexion n’a pas commencé ici, ou a duré trop longtemps. Réessayez.',
  denied: (name) => `${name} a reçu l’ordre de ne pas vous laisser entrer.`,
  issuer: (name) => `${name} ne répond pas comme il faut. Réessayez plus tard.`,
  token: (name) => `On ne peut pas se fier à ce que ${name} a envoyé : personne n’est connecté.`,
  no_account: (name) =>
    `${name} vous connaît, mais vous n’avez pas de compte ici. Demandez une invitation à un administrateur.`,
  disabled: () => 'Ce compte est bloqué. Adressez-vous à un administrateur.',
  invitation: () => 'L’invitation a été utilisée ou retirée. Demandez-en une autre.',
  taken: (name) =>
    `Cette identité chez ${name} appartient à un autre compte, ou ce compte en a déjà une autre.`,
  first: () => 'Le premier compte se crée sur la machine elle-même, à sa propre adresse.',
  failed: () => 'Le serveur a échoué. Réessayez plus tard.',
  linked: (name) => `Vous pouvez désormais vous connecter avec ${name}.`,
};

export const issuerFr: Table = {
  signInWith: (name) => `Se connecter avec ${name}`,
  orElse: 'ou',
  linkLead: (name) => `${name} ouvrira alors ce compte, tout comme votre mot de passe.`,
  linkWith: (name) => `Relier à ${name}`,
  linkedWith: (name) => `${name} ouvre ce compte.`,
  unlink: 'Délier',
  arrived: (arrival, name) => (fr[arrival] ?? fr.failed)(name),
};

const zh: Told = {
  journey: () => '此次登录不是从这里开始的，或耗时过长。请重试。',
  denied: (name) => `${name} 拒绝让您登录。`,
  issuer: (name) => `${name} 未能正常响应。请稍后重试。`,
  token: (name) => `${name} 发来的内容不可信，因此没有登录。`,
  no_account: (name) => `${name} 认识您，但您在此没有账户。请向管理员索取邀请。`,
  disabled: () => '此账户已被锁定。请联系管理员。',
  invitation: () => '邀请已被使用或撤回。请索取新的邀请。',
  taken: (name) => `${name} 的该身份属于此处的另一个账户，或此账户已关联其他身份。`,
  first: () => '第一个账户须在服务器本机上、通过其自身地址创建。',
  failed: () => '服务器出错。请稍后重试。',
  linked: (name) => `从现在起，您可以使用 ${name} 登录。`,
};

export const issuerZh: Table = {
  signInWith: (name) => `使用 ${name} 登录`,
  orElse: '或',
  linkLead: (name) => `之后 ${name} 与您的密码一样可以打开此账户。`,
  linkWith: (name) => `关联 ${name}`,
  linkedWith: (name) => `${name} 可以打开此账户。`,
  unlink: '取消关联',
  arrived: (arrival, name) => (zh[arrival] ?? zh.failed)(name),
};
