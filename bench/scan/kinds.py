"""What keys look like and how programs name them, written down apart from the detectors.

Sources: the providers' documentation and SDKs (names of variables, of headers, of client classes)
and published descriptions of key formats. Nothing here imports ``keylease.detectors``: a mistake
about a format that both made would not be noticed otherwise.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import random
import string
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keylease.contracts.api_keys import ApiKeyKind, mint

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = LOWER + UPPER + DIGITS
HEX = DIGITS + "abcdef"
URL_SAFE = ALNUM + "-_"
BASE64 = ALNUM + "+/"
BASE32 = UPPER + "234567"
Chance = random.Random


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of key: who issues it, what programs call it, how one is made up."""

    name: str
    provider: str
    variable: str
    make: Callable[[Chance], str]
    client: str = "Client"
    host: str = ""
    header: str = "Authorization: Bearer {}"
    companion: str = ""
    """Another line that always stands beside it; ``{id}`` is filled at random."""


def of(alphabet: str, size: int) -> Callable[[Chance], str]:
    return lambda chance: "".join(chance.choices(alphabet, k=size))


def joined(*parts: str | Callable[[Chance], str]) -> Callable[[Chance], str]:
    return lambda chance: "".join(p if isinstance(p, str) else p(chance) for p in parts)


def crc_base62(text: str) -> str:
    number, digits = binascii.crc32(text.encode()), DIGITS + UPPER + LOWER
    result = ""
    for _ in range(6):
        result = digits[number % 62] + result
        number //= 62
    return result


def summed(prefix: str, size: int) -> Callable[[Chance], str]:
    """A prefix, random characters, and their CRC-32 in base62."""

    def make(chance: Chance) -> str:
        body = of(ALNUM, size)(chance)
        return prefix + body + crc_base62(body)

    return make


def a_uuid(chance: Chance) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def private_key(chance: Chance) -> str:
    del chance  # a fresh key each time; there is no seed to give
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - fake, made quickly
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


def bedrock(chance: Chance) -> str:
    user = f"BedrockAPIKey-{of(LOWER + DIGITS, 4)(chance)}-at-{of(DIGITS, 12)(chance)}:"
    return (
        "ABSK" + base64.b64encode(user.encode() + base64.b64encode(chance.randbytes(32))).decode()
    )


def presigned(chance: Chance) -> str:
    query = "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256&"
    query += (
        f"X-Amz-Credential=ASIA{of(BASE32, 16)(chance)}%2F20261101%2Fus-east-1&X-Amz-Signature="
    )
    return (
        "bedrock-api-key-"
        + base64.b64encode((query + chance.randbytes(32).hex()).encode()).decode()
    )


def token(chance: Chance) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"k1","typ":"JWT"}').decode().rstrip("=")
    body = f'{{"iss":"https://idp.internal","sub":"{a_uuid(chance)}","exp":1893456000}}'
    middle = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
    return f"{head}.{middle}.{of(URL_SAFE, 342)(chance)}"


def service_account(chance: Chance) -> str:
    """The file that the console gives out, whole."""
    account = {
        "type": "service_account",
        "project_id": "acme-prod",
        "private_key_id": of(HEX, 40)(chance),
        "private_key": private_key(chance).replace("RSA PRIVATE", "PRIVATE"),
        "client_email": "runner@acme-prod.iam.gserviceaccount.com",
        "client_id": of(DIGITS, 21)(chance),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(account, indent=2)


MARK = base64.b64encode(b"OpenAI").decode()

KINDS: tuple[Kind, ...] = (
    Kind(
        "openai-legacy",
        "openai",
        "OPENAI_API_KEY",
        joined("sk-", of(ALNUM, 20), MARK, of(ALNUM, 20)),
        "OpenAI",
        "api.openai.com",
    ),
    Kind(
        "openai-project",
        "openai",
        "OPENAI_API_KEY",
        joined("sk-proj-", of(URL_SAFE, 74), MARK, of(URL_SAFE, 74)),
        "OpenAI",
        "api.openai.com",
    ),
    Kind(
        "openai-service",
        "openai",
        "OPENAI_API_KEY",
        joined("sk-svcacct-", of(URL_SAFE, 74), MARK, of(URL_SAFE, 74)),
        "OpenAI",
        "api.openai.com",
    ),
    Kind(
        "openai-admin",
        "openai",
        "OPENAI_ADMIN_KEY",
        joined("sk-admin-", of(URL_SAFE, 58), MARK, of(URL_SAFE, 58)),
        "OpenAI",
        "api.openai.com",
    ),
    Kind(
        "anthropic-api",
        "anthropic",
        "ANTHROPIC_API_KEY",
        joined("sk-ant-api03-", of(URL_SAFE, 93), "AA"),
        "Anthropic",
        "api.anthropic.com",
        "x-api-key: {}",
    ),
    Kind(
        "anthropic-admin",
        "anthropic",
        "ANTHROPIC_ADMIN_KEY",
        joined("sk-ant-admin01-", of(URL_SAFE, 93), "AA"),
        "Anthropic",
        "api.anthropic.com",
        "x-api-key: {}",
    ),
    Kind(
        "anthropic-federated",
        "anthropic",
        "ANTHROPIC_AUTH_TOKEN",
        joined("sk-ant-oat01-", of(URL_SAFE, 93), "AA"),
        "Anthropic",
        "api.anthropic.com",
    ),
    Kind(
        "aws-pair",
        "aws",
        "AWS_SECRET_ACCESS_KEY",
        of(BASE64, 40),
        "boto3.Session",
        "sts.amazonaws.com",
        companion="AWS_ACCESS_KEY_ID AKIA{id}",
    ),
    Kind(
        "aws-lone-id",
        "aws",
        "AWS_ACCESS_KEY_ID",
        joined("AKIA", of(BASE32, 16)),
        "boto3.Session",
        "sts.amazonaws.com",
    ),
    Kind(
        "bedrock-long",
        "bedrock",
        "AWS_BEARER_TOKEN_BEDROCK",
        bedrock,
        "BedrockClient",
        "bedrock-runtime.us-east-1.amazonaws.com",
    ),
    Kind(
        "bedrock-short",
        "bedrock",
        "AWS_BEARER_TOKEN_BEDROCK",
        presigned,
        "BedrockClient",
        "bedrock-runtime.us-east-1.amazonaws.com",
    ),
    Kind(
        "google-aiza",
        "google",
        "GOOGLE_API_KEY",
        joined("AIza", of(URL_SAFE, 35)),
        "genai.Client",
        "generativelanguage.googleapis.com",
        "x-goog-api-key: {}",
    ),
    Kind(
        "google-aq",
        "google",
        "GEMINI_API_KEY",
        joined("AQ.Ab8RN6", of(URL_SAFE, 44)),
        "genai.Client",
        "generativelanguage.googleapis.com",
        "x-goog-api-key: {}",
    ),
    Kind(
        "google-service-account",
        "google",
        "GOOGLE_APPLICATION_CREDENTIALS_JSON",
        service_account,
        "service_account",
        "iam.googleapis.com",
    ),
    Kind(
        "vertex-token",
        "google",
        "VERTEX_ACCESS_TOKEN",
        joined("ya29.", of(URL_SAFE, 180)),
        "vertexai.init",
        "aiplatform.googleapis.com",
    ),
    Kind(
        "azure-32",
        "azure",
        "AZURE_OPENAI_API_KEY",
        of(HEX, 32),
        "AzureOpenAI",
        "contoso.openai.azure.com",
        "api-key: {}",
    ),
    Kind(
        "azure-84",
        "azure",
        "AZURE_OPENAI_API_KEY",
        joined(of(ALNUM, 52), "JQQJ99B", of(UPPER, 1), "ACYeBjFXJ3w3AAABACOG", of(ALNUM, 4)),
        "AzureOpenAI",
        "contoso.openai.azure.com",
        "api-key: {}",
    ),
    Kind("mistral", "mistral", "MISTRAL_API_KEY", of(ALNUM, 32), "Mistral", "api.mistral.ai"),
    Kind("cohere", "cohere", "COHERE_API_KEY", of(ALNUM, 40), "cohere.Client", "api.cohere.com"),
    Kind(
        "groq",
        "groq",
        "GROQ_API_KEY",
        joined("gsk_", of(ALNUM, 20), "WGdyb3FY", of(ALNUM, 24)),
        "Groq",
        "api.groq.com",
    ),
    Kind("xai", "xai", "XAI_API_KEY", joined("xai-", of(ALNUM, 80)), "xai_sdk.Client", "api.x.ai"),
    Kind(
        "deepseek",
        "deepseek",
        "DEEPSEEK_API_KEY",
        joined("sk-", of(HEX, 32)),
        "DeepSeek",
        "api.deepseek.com",
    ),
    Kind(
        "perplexity",
        "perplexity",
        "PERPLEXITY_API_KEY",
        joined("pplx-", of(ALNUM, 48)),
        "Perplexity",
        "api.perplexity.ai",
    ),
    Kind(
        "together-64", "together", "TOGETHER_API_KEY", of(HEX, 64), "Together", "api.together.xyz"
    ),
    Kind(
        "together-v1",
        "together",
        "TOGETHER_API_KEY",
        joined("tgp_v1_", of(URL_SAFE, 43)),
        "Together",
        "api.together.xyz",
    ),
    Kind(
        "fireworks",
        "fireworks",
        "FIREWORKS_API_KEY",
        joined("fw_", of(ALNUM, 24)),
        "Fireworks",
        "api.fireworks.ai",
    ),
    Kind(
        "fireworks-old",
        "fireworks",
        "FIREWORKS_API_KEY",
        of(ALNUM, 48),
        "Fireworks",
        "api.fireworks.ai",
    ),
    Kind(
        "cerebras",
        "cerebras",
        "CEREBRAS_API_KEY",
        joined("csk-", of(LOWER + DIGITS, 48)),
        "Cerebras",
        "api.cerebras.ai",
    ),
    Kind(
        "replicate",
        "replicate",
        "REPLICATE_API_TOKEN",
        joined("r8_", of(ALNUM, 37)),
        "replicate.Client",
        "api.replicate.com",
    ),
    Kind(
        "huggingface",
        "huggingface",
        "HF_TOKEN",
        joined("hf_", of(LOWER + UPPER, 34)),
        "InferenceClient",
        "api-inference.huggingface.co",
    ),
    Kind(
        "nvidia",
        "nvidia",
        "NVIDIA_API_KEY",
        joined("nvapi-", of(URL_SAFE, 64)),
        "ChatNVIDIA",
        "integrate.api.nvidia.com",
    ),
    Kind(
        "openrouter",
        "openrouter",
        "OPENROUTER_API_KEY",
        joined("sk-or-v1-", of(HEX, 64)),
        "OpenRouter",
        "openrouter.ai",
    ),
    Kind(
        "elevenlabs",
        "elevenlabs",
        "ELEVENLABS_API_KEY",
        joined("sk_", of(HEX, 48)),
        "ElevenLabs",
        "api.elevenlabs.io",
        "xi-api-key: {}",
    ),
    Kind(
        "elevenlabs-32",
        "elevenlabs",
        "ELEVEN_API_KEY",
        of(HEX, 32),
        "ElevenLabs",
        "api.elevenlabs.io",
        "xi-api-key: {}",
    ),
    Kind("ai21", "ai21", "AI21_API_KEY", of(ALNUM, 32), "AI21Client", "api.ai21.com"),
    Kind("ai21-uuid", "ai21", "AI21_API_KEY", a_uuid, "AI21Client", "api.ai21.com"),
    Kind(
        "stability",
        "stability",
        "STABILITY_API_KEY",
        joined("sk-", of(ALNUM, 48)),
        "StabilityInference",
        "api.stability.ai",
    ),
    Kind(
        "voyage",
        "voyage",
        "VOYAGE_API_KEY",
        joined("pa-", of(URL_SAFE, 43)),
        "voyageai.Client",
        "api.voyageai.com",
    ),
    Kind(
        "jina",
        "jina",
        "JINA_API_KEY",
        joined("jina_", of(HEX, 32), of(URL_SAFE, 28)),
        "JinaEmbeddings",
        "api.jina.ai",
    ),
    Kind(
        "pinecone",
        "pinecone",
        "PINECONE_API_KEY",
        joined("pcsk_", of(ALNUM, 5), "_", of(ALNUM, 63)),
        "Pinecone",
        "api.pinecone.io",
        "Api-Key: {}",
    ),
    Kind(
        "pinecone-uuid",
        "pinecone",
        "PINECONE_API_KEY",
        a_uuid,
        "Pinecone",
        "api.pinecone.io",
        "Api-Key: {}",
    ),
    Kind("wandb-40", "wandb", "WANDB_API_KEY", of(HEX, 40), "wandb.login", "api.wandb.ai"),
    Kind(
        "wandb-v1",
        "wandb",
        "WANDB_API_KEY",
        joined("wandb_v1_", of(ALNUM, 77)),
        "wandb.login",
        "api.wandb.ai",
    ),
    Kind(
        "langfuse",
        "langfuse",
        "LANGFUSE_SECRET_KEY",
        joined("sk-lf-", a_uuid),
        "Langfuse",
        "cloud.langfuse.com",
    ),
    Kind(
        "langsmith",
        "langsmith",
        "LANGSMITH_API_KEY",
        joined("lsv2_pt_", of(HEX, 32), "_", of(HEX, 10)),
        "langsmith.Client",
        "api.smith.langchain.com",
        "x-api-key: {}",
    ),
    Kind(
        "braintrust",
        "braintrust",
        "BRAINTRUST_API_KEY",
        joined("sk-", of(ALNUM, 48)),
        "braintrust.login",
        "api.braintrust.dev",
    ),
    Kind(
        "helicone",
        "helicone",
        "HELICONE_API_KEY",
        joined(
            "sk-helicone-",
            of(LOWER + DIGITS, 7),
            "-",
            of(LOWER + DIGITS, 7),
            "-",
            of(LOWER + DIGITS, 7),
            "-",
            of(LOWER + DIGITS, 7),
        ),
        "Helicone",
        "oai.helicone.ai",
        "Helicone-Auth: Bearer {}",
    ),
    Kind(
        "portkey",
        "portkey",
        "PORTKEY_API_KEY",
        joined(of(BASE64, 27), "="),
        "Portkey",
        "api.portkey.ai",
        "x-portkey-api-key: {}",
    ),
    Kind(
        "litellm",
        "litellm",
        "LITELLM_MASTER_KEY",
        joined("sk-", of(URL_SAFE, 22)),
        "LiteLLM",
        "litellm.internal",
    ),
    Kind(
        "databricks",
        "databricks",
        "DATABRICKS_TOKEN",
        joined("dapi", of(HEX, 32)),
        "WorkspaceClient",
        "adb-1.azuredatabricks.net",
    ),
    Kind(
        "snowflake",
        "snowflake",
        "SNOWFLAKE_TOKEN",
        token,
        "snowflake.connector.connect",
        "acme.snowflakecomputing.com",
    ),
    Kind(
        "github",
        "github",
        "GITHUB_TOKEN",
        summed("ghp_", 30),
        "Github",
        "api.github.com",
        "Authorization: token {}",
    ),
    Kind(
        "github-fine",
        "github",
        "GITHUB_TOKEN",
        joined("github_pat_", of(ALNUM, 22), "_", of(ALNUM, 59)),
        "Github",
        "api.github.com",
        "Authorization: token {}",
    ),
    Kind(
        "gitlab",
        "gitlab",
        "GITLAB_TOKEN",
        joined("glpat-", of(URL_SAFE, 20)),
        "gitlab.Gitlab",
        "gitlab.com",
        "PRIVATE-TOKEN: {}",
    ),
    Kind("vercel", "vercel", "VERCEL_TOKEN", summed("vcp_", 50), "Vercel", "api.vercel.com"),
    Kind("vercel-24", "vercel", "VERCEL_TOKEN", of(ALNUM, 24), "Vercel", "api.vercel.com"),
    Kind(
        "vault",
        "vault",
        "VAULT_TOKEN",
        joined("hvs.", of(URL_SAFE, 95)),
        "hvac.Client",
        "vault.internal:8200",
        "X-Vault-Token: {}",
    ),
    Kind(
        "vault-old",
        "vault",
        "VAULT_TOKEN",
        joined("s.", of(ALNUM, 24)),
        "hvac.Client",
        "vault.internal:8200",
        "X-Vault-Token: {}",
    ),
    Kind(
        "vault-batch",
        "vault",
        "VAULT_TOKEN",
        joined("b.", of(URL_SAFE, 120)),
        "hvac.Client",
        "vault.internal:8200",
        "X-Vault-Token: {}",
    ),
    Kind("jwt", "", "SESSION_JWT", token, "Session", "idp.internal"),
    Kind("private-key", "", "TLS_PRIVATE_KEY", private_key, "load_key", "idp.internal"),
    Kind(
        "keylease",
        "keylease",
        "KEYLEASE_API_KEY",
        lambda chance: mint(ApiKeyKind.API, chance.randbytes),
        "Keylease",
        "keylease.internal",
    ),
    Kind(
        "keylease-ingest",
        "keylease",
        "KEYLEASE_INGEST_KEY",
        lambda chance: mint(ApiKeyKind.INGEST, chance.randbytes),
        "Keylease",
        "keylease.internal",
    ),
)
