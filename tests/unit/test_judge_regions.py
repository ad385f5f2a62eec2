"""I-13: patterns of issuers that name a region or a place, and leave open whose cluster it is."""

import pytest

from unit.advising import codes, toml

SUBJECT = 'subject = "system:serviceaccount:ci:runner"'
EKS, AKS = r"https://oidc\.eks\.", r"\.oic\.prod-aks\.azure\.com/"
GKE = r"https://container\.googleapis\.com/v1/projects/"
ID = "E5D539D4633E53DE1B71A2B3C4D5E6F7"
TENANT, CLUSTER = "3b9d0f52-6c1e-4a87-b5d4-e80f7a2c9361", "c41e7a08-2f95-4d36-8b07-19e5d3f6a2b4"


@pytest.mark.parametrize(
    "pattern",
    [
        EKS + r"eu-west-1\.amazonaws\.com/id/[0-9A-F]{32}",
        EKS + r"eu-west-1\.amazonaws\.com/id/[0-9A-Z]+",
        EKS + r"(eu-west-1|us-east-1)\.amazonaws\.com/id/[0-9A-F]{32}",
        EKS + r"[a-z]{2}-west-[12]\.amazonaws\.com/id/[0-9A-F]{32}",
        "https://westeurope" + AKS + "[0-9a-f-]{36}/[0-9a-f-]{36}/",
        "https://(westeurope|northeurope)" + AKS + "[0-9a-f-]+/[0-9a-f-]+/",
        GKE + "[a-z0-9-]+/locations/europe-west3/clusters/prod",
        GKE + "[a-z0-9-]+/locations/(europe-west3|europe-west4)/clusters/[a-z0-9-]+",
    ],
)
def test_of_any_customer(pattern: str) -> None:
    """Strangers have clusters in each region, and give them any name: that anybody's are trusted is said."""
    assert codes(toml(f"issuer_pattern = '{pattern}'\n{SUBJECT}")) == ["open-issuer"]


@pytest.mark.parametrize(
    "pattern",
    [
        EKS + rf"[a-z0-9-]+\.amazonaws\.com/id/{ID}",
        EKS + rf"eu-west-1\.amazonaws\.com/id/({ID}|{ID[::-1]})",
        f"https://westeurope{AKS}{TENANT}/({CLUSTER}|{TENANT})/",
        f"https://[a-z]+{AKS}{TENANT}/[0-9a-f-]{{36}}/",
        GKE + "acme/locations/[a-z0-9-]+/clusters/[a-z0-9-]+",
        GKE + "acme-[a-z0-9-]+/locations/europe-west3/clusters/prod",
        GKE + "(acme-prod|acme-test)/locations/europe-west3/clusters/[a-z]+",
    ],
)
def test_of_ours(pattern: str) -> None:
    """Who names clusters, a tenant or projects is not told that strangers have some as well."""
    assert codes(toml(f"issuer_pattern = '{pattern}'\n{SUBJECT}")) == []
