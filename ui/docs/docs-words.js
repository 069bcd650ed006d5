// Every text of the page that shows the API, in both languages. The page fills {gaps}.

export const words = {
  en: {
    title: "Rotary HTTP API", skip: "Skip to the operations", raw: "As OpenAPI 3.1",
    status: "Status", language: "Language", find: "Find", schemas: "Schemas",
    parameters: "Parameters", body: "Body", answers: "Answers", required: "required",
    open: "No credential is needed.", secured: "With a token or an API key.",
    count: "{n} operations", silent: "This node does not answer. Load the page again.",
    list: "list of", fallback: "{value} if absent",
  },
  zh: {
    title: "Rotary HTTP 接口", skip: "跳到操作列表", raw: "OpenAPI 3.1 原文",
    status: "状态页", language: "语言", find: "查找", schemas: "数据结构",
    parameters: "参数", body: "请求正文", answers: "应答", required: "必填",
    open: "无需凭据。", secured: "需要令牌或 API 密钥。",
    count: "{n} 个操作", silent: "此节点没有应答。请重新加载页面。",
    list: "列表", fallback: "缺省为 {value}",
  },
};
