// The words of the console, in each language: they stand in its table with all others.

export const consoleEn = {
  console: 'Console',
  keysLead: 'Every API key of this server. A revoked one opens nothing any more.',
  expires: (day: string) => `until ${day}`,
};

type Table = {
  [K in keyof typeof consoleEn]: (typeof consoleEn)[K] extends string
    ? string
    : (typeof consoleEn)[K];
};

export const consoleFr: Table = {
  console: 'Console',
  keysLead: 'Toutes les clés d’API de ce serveur. Une clé révoquée n’ouvre plus rien.',
  expires: (day) => `jusqu’au ${day}`,
};

export const consoleZh: Table = {
  console: '控制台',
  keysLead: '此服务器的所有 API 密钥。已撤销的密钥不再有效。',
  expires: (day) => `有效期至 ${day}`,
};
