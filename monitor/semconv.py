"""Names of attributes, in one place.

`gen_ai.*` names are still marked Development and have left the main semantic-conventions repository, so they are
held here as our own strings instead of being imported. Names that begin with `monitor.` are ours; they exist only
where OpenTelemetry has none. Standard library only: serving code imports this.
"""

from __future__ import annotations

from typing import Final

# --- OpenTelemetry: resource ------------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
DEPLOYMENT_ENVIRONMENT: Final = "deployment.environment.name"
DEPLOYMENT_ENVIRONMENT_OLD: Final = "deployment.environment"
HOST_NAME: Final = "host.name"
K8S_NODE_NAME: Final = "k8s.node.name"
K8S_POD_NAME: Final = "k8s.pod.name"
K8S_POD_UID: Final = "k8s.pod.uid"
K8S_NAMESPACE_NAME: Final = "k8s.namespace.name"
CONTAINER_ID: Final = "container.id"
CLOUD_REGION: Final = "cloud.region"

# --- OpenTelemetry: GenAI ---------------------------------------------------------------------------------------
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
SYSTEM_OLD: Final = "gen_ai.system"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TTFT: Final = "gen_ai.response.time_to_first_chunk"
STREAM: Final = "gen_ai.request.stream"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"

SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_STATUS: Final = "http.response.status_code"

# --- vLLM's latency names, which other engines took over --------------------------------------------------------
ENGINE_TTFT: Final = "gen_ai.latency.time_to_first_token"
ENGINE_E2E: Final = "gen_ai.latency.e2e"
QUEUE_TIME: Final = "gen_ai.latency.time_in_queue"
PREFILL_TIME: Final = "gen_ai.latency.time_in_model_prefill"
DECODE_TIME: Final = "gen_ai.latency.time_in_model_decode"

# --- Ours -------------------------------------------------------------------------------------------------------
NODE: Final = "monitor.node"
DEPLOYMENT: Final = "monitor.deployment"
PRICING: Final = "monitor.pricing"
GPU: Final = "monitor.gpu"
VARIANT: Final = "monitor.variant"
EXPERIMENT: Final = "monitor.experiment"
ARM: Final = "monitor.arm"
CANCELLED: Final = "monitor.cancelled"
SAMPLE_WEIGHT: Final = "monitor.sample_weight"
SIMULATED: Final = "monitor.simulated"
SIMULATED_ARRIVALS: Final = "monitor.simulated_arrivals"
LARGEST_GAP: Final = "monitor.largest_gap"
TOKENS_ESTIMATED: Final = "monitor.tokens_estimated"
EMITTER: Final = "monitor.emitter"
SEQ: Final = "monitor.seq"
COHORT_PREFIX: Final = "monitor.cohort."

# What the SDK counts of itself, as metrics.
CALLS_STARTED: Final = "monitor.sdk.calls.started"
CALLS_ENDED: Final = "monitor.sdk.calls.ended"
CALLS_UNSAMPLED: Final = "monitor.sdk.calls.unsampled"
CALLS_SETTLED: Final = "monitor.sdk.calls.settled"
CALLS_OPEN: Final = "monitor.sdk.calls.open"
JUDGEMENTS_REFUSED: Final = "monitor.sdk.judgements.refused"

# Judgements and engagement, beside OpenTelemetry's `gen_ai.evaluation.*`.
EVALUATION_EVENT: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"
EVALUATION_SOURCE: Final = "monitor.evaluation.source"
EVALUATION_EVALUATOR: Final = "monitor.evaluation.evaluator"
ENGAGEMENT_EVENT: Final = "monitor.engagement"
ENGAGEMENT_KIND: Final = "monitor.engagement.kind"
ENGAGEMENT_VALUE: Final = "monitor.engagement.value"
ENGAGEMENT_COMMENT: Final = "monitor.engagement.comment"

# Marks that the flattening adds when it had to change what came in.
TRUNCATED: Final = "monitor.truncated"
TIME_CLAMPED: Final = "monitor.time_clamped"

DEPLOYMENTS: Final = ("on_premises", "cloud", "hybrid", "edge", "api")
PRICINGS: Final = ("on_demand", "reserved", "spot", "serverless", "per_token", "owned")
EVALUATION_SOURCES: Final = ("ground_truth", "human", "user", "judge", "moderation", "probe")
# Others are taken as well; each of these is known to some KPI or page.
THUMBS: Final = "thumbs"
COMMENT: Final = "comment"
THUMBS_VALUES: Final = ("up", "down")

# --- what is private, under the names of all emitters: for the SDK before it sends, for the collector before it stores

# Attributes that hold what users and models said. Roles and finish reasons among them are no content.
CONTENT_KEYS: Final = (
    r"^(gen_ai\.(prompt|completion)(\.\d+\.(content|tool_calls.*|reasoning.*))?"
    r"|gen_ai\.(input|output)\.messages|gen_ai\.system_instructions|gen_ai\.tool\.(call\.(arguments|result)|definitions)"
    r"|gen_ai\.retrieval\.(query\.text|documents)"
    r"|gen_ai\.(system|user|assistant|tool)\.message\.content|gen_ai\.choice\.message.*"
    r"|llm\.(input|output)_messages\..*(content|text|arguments|url|contents\..*)|llm\.(prompts|completions|prompt_template\.variables).*"
    r"|llm\.[A-Za-z_]+\.(messages|prompt|input|response|choices|content)"
    r"|(input|output)\.value|embedding\.embeddings\..*\.(text|vector)|retrieval\.documents\..*\.content|reranker\..*\.content"
    r"|ai\.prompt.*|ai\.response\.(text|object|toolCalls|reasoning)|ai\.value.*|ai\.toolCall\.(args|result)"
    r"|traceloop\.entity\.(input|output)|langfuse\.(observation|trace)\.(input|output)|mlflow\.(span(Inputs|Outputs)|chunk\.value)"
    r"|llm\.[A-Za-z_]+\.stringified_raw_response|all_messages_events|pydantic_ai\.(all_messages|new_messages)|final_result"
    r"|tool_(arguments|response)|(request|response)_data|events"
    r"|tool\.parameters|exception\.prompt)$"
)
# Numbers of OpenInference, whose names look like content: `llm.token_count.prompt`, `llm.cost.input`.
NO_CONTENT_KEYS: Final = r"^llm\.(token_count|cost)\."
# On events of these names, the bare attributes `content`, `message` and `body` are content too.
CONTENT_EVENT_KEYS: Final = r"^(content|message|body|tool_calls|arguments)$"
USER_KEYS: Final = (
    "user.id", "enduser.id", "user.email", "user.name", "user.full_name", "langfuse.user.id", "litellm.end_user.id",
    "metadata.user_api_key_end_user_id", "litellm.metadata.user_api_key_end_user_id",
    "traceloop.association.properties.user_id", "mlflow.trace.user", "gen_ai.user", "llm.user", "gen_ai.request.user",
    "ai.telemetry.metadata.userId", "ai.settings.context.userId",
)  # fmt: skip
# A request's parameters as JSON, which may name the user.
PARAMETER_KEYS: Final = r"\.(invocation_parameters|model\.parameters)$"
USER_IN_JSON: Final = r'"(user|safety_identifier)"\s*:\s*"([^"\\]|\\.)*"'
USER_HIDDEN: Final = r'"\1":"[hidden]"'
