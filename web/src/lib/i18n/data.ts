// The words about what is kept and used, in each language: they stand in its table with all others.
import type { Sort } from '../api/data';

type Names = { [S in Sort]: string };

const en: Names = {
  chats: 'Conversations of the chat',
  library: 'Presets and prompts',
  votes: 'Votes',
  files: 'Files',
  responses: 'Responses (API)',
  conversations: 'Conversations (API)',
  completions: 'Stored completions (API)',
  batches: 'Batches (API)',
};

export const dataEn = {
  dataTab: 'Data',
  dataLead: 'What the server keeps for you. What is deleted is gone for good.',
  dataLeadAll: 'What the server keeps, for each account. What is deleted is gone for good.',
  dataNothing: 'Nothing is kept.',
  dataSort: (sort: Sort) => en[sort] ?? sort,
  dataCount: (count: string, size: string) => `${count} · ${size}`,
  dataKeys: (count: string) => `API keys: ${count}`,
  dataOf: (name: string) => `Data of ${name}`,
  dataMine: 'Mine',
  dataDelete: (what: string) => `Delete: ${what}`,
  dataDeleteText: (what: string) =>
    `${what}: what you choose here is deleted with all its parts and contents. Nobody can bring it back.`,
  dataAge: 'Which',
  dataAll: 'All',
  dataOlder: (days: string) => `Not changed for ${days} days`,
  dataDeleted: (count: string) => `Deleted: ${count}`,
  dataExport: 'Export everything of mine',
  usageTab: 'Usage',
  usageLead: 'Tokens and requests by day, in universal time.',
  usageDays: 'Period',
  usageLast: (days: string) => `The last ${days} days`,
  usageIn: 'Tokens in',
  usageOut: 'Tokens out',
  usageCached: 'of these cached',
  usageRequests: 'Requests',
  usageSum: (requests: string, input: string, output: string) =>
    `${requests} requests, ${input} tokens in, ${output} tokens out`,
  usageDay: (day: string, input: string, output: string, requests: string) =>
    `${day}: ${input} in, ${output} out, ${requests} requests`,
  usageNothing: 'Nothing was used in this time.',
  usageModels: 'Models',
  usageOwners: 'Accounts',
  usageNoKey: 'Without an API key',
  usageSave: 'Save as CSV',
};

type Table = {
  [K in keyof typeof dataEn]: (typeof dataEn)[K] extends string ? string : (typeof dataEn)[K];
};

const fr: Names = {
  chats: 'Discussions',
  library: 'Préréglages et modèles de prompts',
  votes: 'Votes',
  files: 'Fichiers',
  responses: 'Réponses (API)',
  conversations: 'Conversations (API)',
  completions: 'Complétions conservées (API)',
  batches: 'Lots (API)',
};

export const dataFr: Table = {
  dataTab: 'Données',
  dataLead: 'Ce que le serveur conserve pour vous. Ce qui est supprimé l’est définitivement.',
  dataLeadAll:
    'Ce que le serveur conserve, compte par compte. Ce qui est supprimé l’est définitivement.',
  dataNothing: 'Rien n’est conservé.',
  dataSort: (sort) => fr[sort] ?? sort,
  dataCount: (count, size) => `${count} · ${size}`,
  dataKeys: (count) => `Clés d’API : ${count}`,
  dataOf: (name) => `Données de ${name}`,
  dataMine: 'Les miennes',
  dataDelete: (what) => `Supprimer : ${what}`,
  dataDeleteText: (what) =>
    `${what} : ce que vous choisissez ici est supprimé avec toutes ses parties et son contenu. Personne ne peut le rétablir.`,
  dataAge: 'Lesquelles',
  dataAll: 'Toutes',
  dataOlder: (days) => `Inchangées depuis ${days} jours`,
  dataDeleted: (count) => `Supprimés : ${count}`,
  dataExport: 'Exporter tout ce qui est à moi',
  usageTab: 'Usage',
  usageLead: 'Jetons et requêtes par jour, en temps universel.',
  usageDays: 'Période',
  usageLast: (days) => `Les ${days} derniers jours`,
  usageIn: 'Jetons reçus',
  usageOut: 'Jetons produits',
  usageCached: 'dont en cache',
  usageRequests: 'Requêtes',
  usageSum: (requests, input, output) =>
    `${requests} requêtes, ${input} jetons reçus, ${output} jetons produits`,
  usageDay: (day, input, output, requests) =>
    `${day} : ${input} reçus, ${output} produits, ${requests} requêtes`,
  usageNothing: 'Rien n’a été utilisé pendant cette période.',
  usageModels: 'Modèles',
  usageOwners: 'Comptes',
  usageNoKey: 'Sans clé d’API',
  usageSave: 'Enregistrer en CSV',
};

const zh: Names = {
  chats: '聊天对话',
  library: '预设和提示词',
  votes: '投票',
  files: '文件',
  responses: '响应（API）',
  conversations: '会话（API）',
  completions: '已保存的补全（API）',
  batches: '批处理（API）',
};

export const dataZh: Table = {
  dataTab: '数据',
  dataLead: '服务器为您保存的内容。删除后无法恢复。',
  dataLeadAll: '服务器为每个账户保存的内容。删除后无法恢复。',
  dataNothing: '没有保存任何内容。',
  dataSort: (sort) => zh[sort] ?? `数据 ${sort}`,
  dataCount: (count, size) => `${count} 项 · ${size}`,
  dataKeys: (count) => `API 密钥：${count}`,
  dataOf: (name) => `${name} 的数据`,
  dataMine: '我的',
  dataDelete: (what) => `删除：${what}`,
  dataDeleteText: (what) => `${what}：此处选择的内容将连同其所有部分一起删除，任何人都无法恢复。`,
  dataAge: '范围',
  dataAll: '全部',
  dataOlder: (days) => `超过 ${days} 天未更改`,
  dataDeleted: (count) => `已删除：${count}`,
  dataExport: '导出我的全部数据',
  usageTab: '用量',
  usageLead: '按天（世界时）统计的词元和请求。',
  usageDays: '时间段',
  usageLast: (days) => `最近 ${days} 天`,
  usageIn: '输入词元',
  usageOut: '输出词元',
  usageCached: '其中命中缓存',
  usageRequests: '请求',
  usageSum: (requests, input, output) =>
    `${requests} 次请求，输入 ${input} 词元，输出 ${output} 词元`,
  usageDay: (day, input, output, requests) =>
    `${day}：输入 ${input}，输出 ${output}，${requests} 次请求`,
  usageNothing: '这段时间没有用量。',
  usageModels: '模型',
  usageOwners: '账户',
  usageNoKey: '未使用 API 密钥',
  usageSave: '保存为 CSV',
};
