//! An authority that issues certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// What is odd about a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    Nothing,
    Expired,
    NotYetValid,
    NoName,
    ClientsOnly,
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = name(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    pub(crate) fn new(common_name: &str) -> Self {
        Self::of(authority_params(common_name))
    }

    /// One whose time is over.
    pub(crate) fn expired(common_name: &str) -> Self {
        let mut params = authority_params(common_name);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        Self::of(params)
    }

    fn of(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An authority that this one vouches for; its PEM is its own certificate alone.
    pub(crate) fn intermediate(&self, common_name: &str) -> Self {
        let params = authority_params(common_name);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn issue(&self, host: &str) -> Issued {
        self.issue_odd(host, Odd::Nothing)
    }

    pub(crate) fn issue_odd(&self, host: &str, odd: Odd) -> Issued {
        let names = if odd == Odd::NoName { vec![] } else { vec![host.to_owned()] };
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = name(host);
        match odd {
            Odd::Expired => {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }
            Odd::NotYetValid => params.not_before = date_time_ymd(2999, 1, 1),
            Odd::ClientsOnly => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Odd::Nothing | Odd::NoName => {}
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

/// A certificate that signed itself. As an authority, it is what `openssl req -x509` makes.
pub(crate) fn self_signed(host: &str, as_authority: bool) -> Issued {
    let (authority, key) = self_signing(host, as_authority);
    Issued { cert: authority.pem, key }
}

/// The same, with what its key can sign whether it may or not.
pub(crate) fn self_signing(host: &str, as_authority: bool) -> (Authority, String) {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name = name(host);
    params.is_ca = if as_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    let key = KeyPair::generate().unwrap();
    let (pem, text) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    (Authority { issuer: Issuer::new(params, key), pem }, text)
}
